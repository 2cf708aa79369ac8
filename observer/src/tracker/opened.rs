//! Which of what is open was opened first: nothing that was opened before it will be told of any more.

use std::collections::VecDeque;

/// Places of what was opened, by identifiers that only grow. Some of it may be gone.
///
/// Kept only once it is asked for: until then it costs nothing.
#[derive(Debug)]
pub(super) struct Opened<P>(Option<VecDeque<(u64, P)>>);

impl<P> Default for Opened<P> {
    fn default() -> Self {
        Self(None)
    }
}

impl<P> Opened<P> {
    /// Notes what was opened now. `open` is how many there are besides.
    pub(super) fn push(&mut self, id: u64, place: P, open: usize, is_open: impl Fn(u64, &P) -> bool) {
        let Some(queue) = &mut self.0 else { return };
        if queue.len() > 2 * open + 1024 {
            queue.retain(|(id, place)| is_open(*id, place));
        }
        queue.push_back((id, place));
    }

    /// The identifier of the first one that is open. `all` are those that are open, in any order.
    pub(super) fn first(
        &mut self,
        all: impl Iterator<Item = (u64, P)>,
        is_open: impl Fn(u64, &P) -> bool,
    ) -> Option<u64> {
        let queue = self.0.get_or_insert_with(|| {
            let mut all: Vec<_> = all.collect();
            all.sort_unstable_by_key(|(id, _)| *id);
            all.into()
        });
        while let Some((id, place)) = queue.front() {
            if is_open(*id, place) {
                return Some(*id);
            }
            queue.pop_front();
        }
        None
    }
}
