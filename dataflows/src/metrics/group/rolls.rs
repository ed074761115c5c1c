//! Windows that are rolled up: what changed in an hour changed in its day, month and year. Only
//! the changes of the finest window travel.

use super::super::plan::Node;
use super::super::update::{Member, Updates};
use super::super::words::{HEAD, Words, head, start, window};

/// Whether windows can be rolled up once from all groups, before they are first shown, instead of
/// from each change: no group retires meanwhile, and all of it stands in sums.
pub fn can_wait(node: &Node) -> bool {
    let rolls = node.roll_ups.iter().any(Option::is_some);
    rolls && node.retain.is_none() && node.sets.is_empty()
}

/// What changes of a node's groups change in the windows that are rolled up from theirs; none if
/// no window is.
pub fn rolled_up(node: &Node, form: &Words, updates: &Updates) -> Option<Updates> {
    let (roll_ups, windows) = (node.roll_ups.iter(), node.windows.iter());
    let rolls = roll_ups.zip(windows).enumerate();
    let rolls = rolls.filter_map(|(to, (from, window))| Some(((*from)?, to, window)));
    let rolls: Vec<_> = rolls.collect();
    if rolls.is_empty() {
        return None;
    }
    let mut changed = Updates::default();
    // Of each entry the number of its first one here.
    let (mut firsts, mut number) = (vec![0], 0);
    for entry in updates.words.chunks_exact(form.width()) {
        let of = usize::from(window(entry[0]));
        for (_, to, window) in rolls.iter().filter(|(from, ..)| *from == of) {
            for start in window.starts(start(entry[0])) {
                changed.words.push(head(*to as u16, start));
                changed.words.extend_from_slice(&entry[HEAD..]);
                number += 1;
            }
        }
        firsts.push(number);
    }
    for member in &updates.members {
        let e = member.entry as usize;
        let entries = firsts[e]..firsts[e + 1];
        changed.members.extend(entries.map(|entry| Member { entry, ..*member }));
    }
    Some(changed)
}
