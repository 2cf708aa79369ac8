//! `/proc/PID/stat`, as far as it tells processes apart.

/// What it says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat<'a> {
    /// Its name (`comm`), which may hold anything, parentheses too.
    pub name: &'a [u8],
    /// Process identifier of its parent.
    pub parent: u32,
    /// When it began, as [`observer_ebpf::Task::started`], by the boot clock of who reads.
    pub started: u32,
}

impl<'a> Stat<'a> {
    /// Fields 2, 4 and 22 of proc_pid_stat(5).
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let begin = line.iter().position(|byte| *byte == b'(')?;
        let end = line.iter().rposition(|byte| *byte == b')')?;
        let name = line.get(begin + 1..end)?;
        let mut rest = str::from_utf8(line.get(end + 1..)?).ok()?.split_ascii_whitespace();
        let parent = rest.nth(1)?.parse().ok()?;
        let ticks: u64 = rest.nth(17)?.parse().ok()?;
        Some(Self { name, parent, started: ticks as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_last_parenthesis() {
        let line =
            b"4711 (a) S 1 (\xff) S 42 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 123456 0 0 18446744073709551615\n";
        let stat = Stat { name: b"a) S 1 (\xff", parent: 42, started: 123_456 };
        assert_eq!(Stat::parse(line), Some(stat));
        for cut in 0..line.len() {
            assert!(Stat::parse(&line[..cut]).is_none_or(|part| part.name == stat.name), "{cut} octets");
        }
        assert_eq!(Stat::parse(b"1 )( S 2"), None);
    }

    #[test]
    fn this_process_has_begun_after_the_machine() {
        let line = std::fs::read("/proc/self/stat").expect("there is a /proc");
        let stat = Stat::parse(&line).expect("it is well formed");
        assert!(stat.started > 0 && stat.parent > 0);
    }
}
