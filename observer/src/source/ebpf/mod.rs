//! The kernel as a source: eBPF programs, and what they send.

pub mod btf;
pub mod load;
pub mod resolve;

#[cfg(test)]
mod tests {
    use super::*;
    use observer_ebpf::{HOOKS, Plain as _, Socket, Stray, tag};

    #[test]
    fn smoke() {
        let t = std::time::Instant::now();
        let btf = btf::Btf::of_kernel().unwrap();
        eprintln!("btf {:?}", t.elapsed());
        let resolved = resolve::Resolved::new(&btf);
        eprintln!("resolved {:?}", t.elapsed());
        for (p, o) in observer_ebpf::PATHS.iter().zip(resolved.fields()) {
            eprintln!("{} {}", p.name, *o as i32);
        }
        eprintln!("{:?}", resolved.settings);
        let mut loaded =
            load::Loaded::new(&resolved, resolved.settings, load::Sizes { ring: 1 << 24, sockets: 1 << 18 }).unwrap();
        loaded.attach(&HOOKS, &resolved, &btf);
        eprintln!("attached {:?} {:?}", t.elapsed(), loaded.attached);
        for off in &loaded.off {
            eprintln!("OFF {off:?}");
        }
        let mut ring = loaded.ring().unwrap();
        let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let a = l.local_addr().unwrap();
        let c = std::net::TcpStream::connect(a).unwrap();
        let (s, _) = l.accept().unwrap();
        drop(c);
        drop(s);
        drop(l);
        let _ = std::net::TcpStream::connect(a);
        std::thread::sleep(std::time::Duration::from_millis(200));
        while let Some(item) = ring.next() {
            let t = u32::from_ne_bytes(*item.first_chunk().unwrap());
            match t {
                tag::GONE | tag::CHAPTER => {
                    let s = Socket::parse(&item).unwrap();
                    eprintln!("{:?}\n events {:?}", Socket { events: Socket::NONE.events, ..s }, &s.events[..s.filled as usize]);
                }
                tag::STRAY => eprintln!("{:?}", Stray::parse(&item).unwrap()),
                other => eprintln!("tag {other}"),
            }
        }
    }
}
