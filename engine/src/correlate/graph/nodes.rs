//! The alerts of the graph.

use std::sync::Arc;

use super::GroupId;
use crate::alert::Alert;

#[derive(Debug)]
pub(in crate::correlate) struct Node {
    /// Of the alert; empty for a restored past one.
    pub id: Arc<str>,
    pub first_time: i64,
    pub last_time: i64,
    pub entities: Vec<u32>,
    /// How many of them, which come first, are identities.
    pub identities: usize,
    /// Nothing if its incident is closed.
    pub alert: Option<Alert>,
    pub is_dead: bool,
    pub neighbours: Vec<u32>,
    pub group: Option<GroupId>,
    /// The incident that it was told to be in.
    pub told: Option<Arc<str>>,
}

impl Node {
    pub fn is_past(&self) -> bool {
        self.alert.is_none()
    }

    pub fn identities(&self) -> impl Iterator<Item = u32> {
        self.entities[..self.identities].iter().copied()
    }
}

#[derive(Debug, Default)]
pub(in crate::correlate) struct Nodes(pub(super) Vec<Node>);

impl Nodes {
    pub fn get(&self, node: u32) -> &Node {
        &self.0[node as usize]
    }

    pub(super) fn get_mut(&mut self, node: u32) -> &mut Node {
        &mut self.0[node as usize]
    }

    /// Alerts are ordered by their first time, then by their id.
    pub fn order(&self, node: u32) -> (i64, &str) {
        let node = self.get(node);
        (node.first_time, &node.id)
    }
}
