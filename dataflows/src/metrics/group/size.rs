//! How much memory groups take: what is expected of one, and about what all of them hold.
//!
//! Limits: bytes are estimates from the sizes of what is held and how full tables are on average;
//! multisets are looked at in a sample of the groups.

use std::mem::size_of;

use super::super::multiset::Multiset;
use super::super::plan::{Node, Order};
use super::super::update::Member;
use super::super::words::Words;
use super::store;
use super::{Buckets, Groups, NodeGroups};
use crate::index;

/// Groups looked at for the sizes of their multisets.
const SAMPLE: usize = 256;

/// What a node's groups hold on one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupsSize {
    /// Groups.
    pub groups: usize,
    /// Their bytes, about.
    pub bytes: usize,
    /// Shares of groups in buckets of arrivals.
    pub shares: usize,
    /// Their bytes, about.
    pub share_bytes: usize,
}

/// Bytes of an entry of a hash table, which is two thirds full on average.
pub const fn hashed(entry: usize) -> usize {
    (entry + 1) * 3 / 2
}

/// Bytes of an entry of a B-tree, whose nodes are two thirds full on average.
pub const fn treed(entry: usize) -> usize {
    entry * 3 / 2 + 2
}

/// Bytes of an entry of a [`super::super::multiset`] list, whose parts grow by a quarter.
pub const fn listed(entry: usize) -> usize {
    entry * 9 / 8 + 1
}

/// Bytes of one distinct member of a multiset.
pub fn member(order: Order) -> usize {
    match order {
        // The greatest are in order; below them, where most are if there are many, texts take less
        // than that, and some changes wait.
        Order::Value | Order::Ranked { text: true } => listed(16),
        Order::Ranked { text: false } => 24 * 3 / 2,
        Order::Often { .. } => hashed(16) + treed(24),
    }
}

/// Bytes of a group without the members of its multisets.
pub fn group(node: &Node) -> usize {
    let entry = store::bytes(node) + index::ENTRY;
    let sets = if node.sets.is_empty() { 0 } else { size_of::<Box<[Multiset]>>() };
    entry + sets + node.sets.len() * size_of::<Multiset>()
}

/// Bytes of a group's share of a bucket, with a value of each multiset.
pub fn share(node: &Node) -> usize {
    share_alone(node) + node.sets.len() * size_of::<Member>()
}

fn share_alone(node: &Node) -> usize {
    let lasts = node.sets.len() * size_of::<u32>();
    Words::of(node).width() * size_of::<i64>() + hashed(size_of::<u32>()) + lasts
}

impl Groups {
    /// What each node holds, about.
    pub fn sizes(&self) -> Vec<GroupsSize> {
        self.plan.nodes.iter().zip(&self.nodes).map(|(node, groups)| groups.size(node)).collect()
    }
}

impl NodeGroups {
    pub(super) fn size(&self, node: &Node) -> GroupsSize {
        let (shares, values) = self.buckets.as_ref().map_or((0, 0), Buckets::len);
        let groups = &self.live.groups;
        let members: usize = if node.sets.is_empty() {
            0
        } else {
            let sample = groups.sets().take(SAMPLE);
            let bytes: usize = sample
                .flat_map(|sets| sets.iter().zip(&node.sets))
                .map(|(set, s)| set.held() * member(s.order))
                .sum();
            bytes * groups.len() / groups.len().clamp(1, SAMPLE)
        };
        GroupsSize {
            groups: groups.len(),
            bytes: groups.len() * group(node) + members,
            shares,
            share_bytes: shares * share_alone(node) + values * size_of::<Member>(),
        }
    }
}
