//! Counting tests, from what the test runners print.

use std::collections::BTreeMap;
use std::fmt;

/// How many tests there were, and why some did not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Why, one line a reason.
    pub skips: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.skips.extend(other.skips);
    }

    /// Counts one that could not run.
    pub fn skip(&mut self, why: String) {
        self.skipped += 1;
        self.skips.push(why);
    }

    /// Moves those tests from passed to skipped that said so themselves: `marks` is how often each gave which reason.
    fn apply(&mut self, marks: BTreeMap<&str, u64>) {
        for (why, times) in marks {
            let moved = times.min(self.passed);
            self.passed -= moved;
            self.skipped += moved;
            self.skips.push(if times == 1 { why.to_owned() } else { format!("{why} ({times} tests)") });
        }
    }
}

/// The form that continuous integration reads.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Counts the tests of a JUnit report, as nextest writes it; `None` where it is none.
pub fn of_junit(xml: &str) -> Option<Tally> {
    let head = xml.lines().find(|line| line.trim_start().starts_with("<testsuites"))?;
    let count = |name: &str| head.split_once(&format!(" {name}=\""))?.1.split('"').next()?.parse::<u64>().ok();
    let failed = count("failures")? + count("errors")?;
    let skipped = count("skipped").unwrap_or(0);
    let passed = count("tests")?.checked_sub(failed + skipped)?;
    let mut tally = Tally { passed, failed, skipped, skips: Vec::new() };
    tally.apply(marks(xml));
    Some(tally)
}

/// Counts the tests of what `cargo test -- --show-output` printed.
pub fn of_libtest(text: &str) -> Tally {
    let mut tally = Tally::default();
    for counts in text.lines().filter_map(|line| line.trim().strip_prefix("test result: ")) {
        // `ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`
        let numbers = counts.split(['.', ';']).filter_map(|part| part.trim().split_once(' '));
        for (number, word) in numbers {
            let number = number.parse().unwrap_or(0);
            match word {
                "passed" => tally.passed += number,
                "failed" => tally.failed += number,
                "ignored" => tally.skipped += number,
                _ => {}
            }
        }
    }
    tally.apply(marks(text));
    tally
}

/// A test that cannot run here prints `skipped: REASON` as a line of its own, and returns. How often each reason came.
fn marks(text: &str) -> BTreeMap<&str, u64> {
    let mut marks = BTreeMap::new();
    for why in text.lines().filter_map(|line| line.trim().trim_start_matches("<system-err>").strip_prefix("skipped: "))
    {
        *marks.entry(why.trim_end_matches("</system-err>")).or_default() += 1;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nextest() {
        let xml = "<?xml version=\"1.0\"?>\n\
            <testsuites name=\"nextest-run\" tests=\"9\" skipped=\"0\" failures=\"2\" errors=\"1\" time=\"1.9\">\n\
            <testcase name=\"a\">\n<system-err>skipped: no corpus beside the checkout\n</system-err>\n\
            <testcase name=\"b\">\n<system-err>\nskipped: no corpus beside the checkout</system-err>\n</testsuites>\n";
        let tally = of_junit(xml).expect("a report");
        assert_eq!(tally.to_string(), "4 passed, 3 failed, 2 skipped");
        assert_eq!(tally.skips, ["no corpus beside the checkout (2 tests)"]);
        assert_eq!(of_junit("<html>"), None);
    }

    #[test]
    fn reads_libtest() {
        let text = "test a ... ok\n---- a stdout ----\nskipped: needs root\n\n\
            test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s\n";
        let tally = of_libtest(text);
        assert_eq!(tally.to_string(), "6 passed, 1 failed, 2 skipped");
        assert_eq!(tally.skips, ["needs root"]);
    }
}
