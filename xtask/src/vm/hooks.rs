//! Which of observer's hooks a kernel takes.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{Gives, Kernel};

/// The object of type `capture` that ends what `observer watch --output json` prints.
#[derive(Deserialize)]
struct Capture {
    hooks: Vec<Hook>,
}

#[derive(Deserialize)]
struct Hook {
    name: String,
    attached: bool,
    why: Option<String>,
}

/// Reads what `observer watch` printed: a connection must be in it, and no hook may be off but those of which that is
/// known.
pub fn judge(kernel: &Kernel, text: &str) -> Result<Vec<Gives>> {
    let end = text.lines().rev().find(|line| line.starts_with(r#"{"type":"capture""#));
    let end = end.with_context(|| format!("observer printed no object of type capture: {text}"))?;
    let Capture { hooks } = serde_json::from_str(end).with_context(|| format!("reading {end}"))?;
    ensure!(!hooks.is_empty(), "eBPF was not used: {text}");
    ensure!(text.contains(r#"{"type":"connection""#), "no connection was seen: {text}");
    let unexpected: Vec<String> = hooks
        .iter()
        .filter(|hook| !hook.attached && !kernel.without.contains(&hook.name.as_str()))
        .map(|hook| format!("{} is off: {}", hook.name, hook.why.as_deref().unwrap_or("no reason given")))
        .collect();
    ensure!(unexpected.is_empty(), "{}", unexpected.join("; "));
    let gives = |hook: Hook| Gives {
        what: format!("hook `{}`", hook.name),
        why_not: (!hook.attached).then(|| hook.why.unwrap_or_default()),
    };
    Ok(hooks.into_iter().map(gives).collect())
}
