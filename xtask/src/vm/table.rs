//! What each kernel gives, as a table for people.

use std::fs;

use anyhow::{Context as _, Result};

use super::Outcome;
use crate::process::root;

/// Between these two lines of README.md stands the table.
const BEGIN: &str = "<!-- what each kernel gives: written by `cargo xtask vm --write` -->\n";
const END: &str = "<!-- end -->\n";

/// Markdown: a line for each hook, a column for each kernel, and below why some are off.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let row = |first: &str, cells: Vec<String>| format!("| {first} | {} |\n", cells.join(" | "));
    let mut text = row("hook", outcomes.iter().map(|outcome| version(&outcome.release)).collect());
    text += &row("---", vec!["---".to_owned(); outcomes.len()]);
    let mut names: Vec<&str> = Vec::new();
    for hook in outcomes.iter().flat_map(|outcome| &outcome.hooks) {
        if !names.contains(&hook.name.as_str()) {
            names.push(&hook.name);
        }
    }
    for name in names {
        let cells = outcomes.iter().map(|outcome| cell(outcome, name)).collect();
        text += &row(&format!("`{name}`"), cells);
    }
    for outcome in outcomes {
        for hook in &outcome.hooks {
            if let Some(why) = &hook.why {
                text += &format!("\n`{}` on {}: {why}.\n", hook.name, version(&outcome.release));
            }
        }
    }
    text
}

fn cell(outcome: &Outcome, name: &str) -> String {
    match outcome.hooks.iter().find(|hook| hook.name == name) {
        None => "not known".to_owned(),
        Some(hook) if !hook.attached => "no".to_owned(),
        Some(hook) if hook.lacks.is_empty() => "yes".to_owned(),
        Some(hook) => format!("yes, without {}", hook.lacks.join(" and ")),
    }
}

/// `6.1` of `6.1.0-50-cloud-amd64`.
fn version(release: &str) -> String {
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Puts the table into README.md.
pub fn write(table: &str) -> Result<()> {
    let path = root().join("README.md");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let text = replaced(&text, table).context("README.md has no place for the table")?;
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::Hook;
    use super::*;
    use crate::test::tally::Tally;

    fn hook(name: &str, attached: bool, why: Option<&str>, lacks: &[&str]) -> Hook {
        let lacks = lacks.iter().map(|lack| (*lack).to_owned()).collect();
        Hook { name: name.to_owned(), attached, why: why.map(str::to_owned), lacks }
    }

    #[test]
    fn says_what_is_there_and_why_the_rest_is_not() {
        let hooks = vec![
            hook("state", true, None, &[]),
            hook("drop", true, None, &["reason"]),
            hook("error", false, Some("this kernel has no tracepoint inet_sk_error_report"), &[]),
        ];
        let tally = Tally { passed: 9, ..Tally::default() };
        let outcome = Outcome { kernel: "5.10", release: "5.10.0-30-cloud-amd64".to_owned(), hooks, tally };
        let table = markdown(&[outcome]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "| hook | 5.10 |");
        assert_eq!(lines[2..5], ["| `state` | yes |", "| `drop` | yes, without reason |", "| `error` | no |"]);
        assert_eq!(lines[6], "`error` on 5.10: this kernel has no tracepoint inet_sk_error_report.");
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(replaced(&page, "new\n"), Some(format!("before\n{BEGIN}\nnew\n\n{END}after\n")));
        assert_eq!(replaced("nothing", "new"), None);
    }
}
