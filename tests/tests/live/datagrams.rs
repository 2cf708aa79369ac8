//! What has connections of its own over UDP.

use std::process::{Child, Stdio};

use observer_tests::live::{Netns, until};

use super::stage;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(netns: &Netns, args: &[&str]) -> Running {
    let mut command = netns.command("openssl");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("it starts"))
}

#[test]
fn dtls_is_known_by_its_handshake() {
    let test = "DTLS";
    let Some((netns, watch)) = stage(test, &["--interval", "0.5"]) else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=dtls.lab"];
    if let Err(why) = netns.try_run("openssl", &[&make[..], &["-keyout", &key, "-out", &certificate]].concat()) {
        return observer_tests::skip(test, why.trim());
    }
    let serve = ["s_server", "-dtls1_2", "-accept", "4433", "-key", &key, "-cert", &certificate];
    let _server = openssl(&netns, &serve);
    until("it listens", || netns.output("ss", &["-Huan", "sport = :4433"]).contains(":4433"));
    let _client = openssl(&netns, &["s_client", "-dtls1_2", "-connect", "127.0.0.1:4433", "-servername", "dtls.lab"]);
    let record =
        watch.update("the connection", |record| record["protocol"] == "dtls" && !record["tls"]["version"].is_null());
    assert_eq!((&record["transport"], &record["server"]["port"]), (&"udp".into(), &4433.into()));
    assert_eq!(
        (&record["tls"]["sni"], &record["tls"]["version"]),
        (&"dtls.lab".into(), &"DTLS 1.2".into()),
        "{record}"
    );
}
