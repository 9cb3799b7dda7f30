//! Who acts by itself: controllers of a cluster and the clouds' own services. Rules about people leave them
//! out with `actor_is_automation IS NOT TRUE`.
//!
//! Listed is only what nobody can name himself: a tenant cannot make a role below `aws-service-role`, nor a
//! service account in Google's own projects. `*` stands for any text.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray,
};
use hashbrown::HashMap;
use weir_engine::schema::col;

use super::memo::Memo;

/// Identities (`actor_user_uid`).
const IDENTITIES: &[&str] = &[
    // Kubernetes: the control plane, and kubelets.
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:kube-proxy",
    "system:cloud-controller-manager",
    "system:node:*",
    // Kubernetes: controllers that run in kube-system.
    "system:serviceaccount:kube-system:*-controller",
    "system:serviceaccount:kube-system:bootstrap-signer",
    "system:serviceaccount:kube-system:cluster-autoscaler",
    "system:serviceaccount:kube-system:coredns",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    "system:serviceaccount:kube-system:kube-dns",
    "system:serviceaccount:kube-system:kube-proxy",
    "system:serviceaccount:kube-system:legacy-service-account-token-cleaner",
    "system:serviceaccount:kube-system:metrics-server",
    "system:serviceaccount:kube-system:node-problem-detector",
    "system:serviceaccount:kube-system:persistent-volume-binder",
    "system:serviceaccount:kube-system:pod-garbage-collector",
    "system:serviceaccount:kube-system:root-ca-cert-publisher",
    "system:serviceaccount:kube-system:token-cleaner",
    "system:serviceaccount:kube-system:vpa-*",
    // Kubernetes as a service: EKS, GKE, AKS.
    "eks:*",
    "system:addon-manager",
    "system:clustermetrics",
    "system:gcp-controller-manager",
    "system:gke-*",
    "system:managed-certificate-controller",
    "system:serviceaccount:kube-system:aws-node",
    "system:serviceaccount:kube-system:azure-*",
    "system:serviceaccount:kube-system:cloud-node-manager",
    "system:serviceaccount:kube-system:ebs-csi-*",
    "system:serviceaccount:kube-system:event-exporter-sa",
    "system:serviceaccount:kube-system:konnectivity-agent",
    "aksService",
    // AWS: roles that only a service can assume.
    "arn:aws:iam::????????????:role/aws-service-role/*",
    "arn:aws-cn:iam::????????????:role/aws-service-role/*",
    "arn:aws-us-gov:iam::????????????:role/aws-service-role/*",
    // Google: service agents, which live in Google's projects.
    "*@cloudservices.gserviceaccount.com",
    "service-*@gcp-sa-*.iam.gserviceaccount.com",
    "service-*@cloudcomposer-accounts.iam.gserviceaccount.com",
    "service-*@compute-system.iam.gserviceaccount.com",
    "service-*@container-engine-robot.iam.gserviceaccount.com",
    "service-*@containerregistry.iam.gserviceaccount.com",
    "service-*@dataflow-service-producer-prod.iam.gserviceaccount.com",
    "service-*@dataproc-accounts.iam.gserviceaccount.com",
    "service-*@gcf-admin-robot.iam.gserviceaccount.com",
    "service-*@gs-project-accounts.iam.gserviceaccount.com",
    "service-*@serverless-robot-prod.iam.gserviceaccount.com",
    "service-*@service-networking.iam.gserviceaccount.com",
    "system@google.com",
    // Azure: first-party applications by id; a name proves nothing, everybody can choose one.
    "0000????-0000-0000-c000-000000000000",
    "01fc33a7-78ba-4d2f-a4b7-768e336e890e", // privileged identity management
    "262044b1-e2ce-469f-a196-69ab7ada62d3", // backup
    "65d91a3d-ab74-42e6-8a2f-0add61688c74", // approvals
    "7319c514-987d-4e9b-ac3d-d38c4f427f4c", // AKS
    "797f4846-ba00-4fd7-ba43-dac1f8f63013", // service management API
    "abfa0a7c-a6b6-4736-8310-5855508787cd", // App Service
    "fc68d9e5-1f76-45ef-99aa-214805418498", // identity protection
];

/// Kinds of identities (`actor_user_type`).
const TYPES: &[&str] = &["AWSService"];
/// Services that act on an identity's behalf (`actor_invoked_by`).
const INVOKERS: &[&str] = &["*.amazonaws.com", "AWS Internal"];
/// Services among these that do at once what their caller asked for: the act is the caller's.
const HANDS: &[&str] = &[
    "athena.amazonaws.com",
    "cloudcontrolapi.amazonaws.com",
    "cloudformation.amazonaws.com",
    "servicecatalog.amazonaws.com",
    "ssm.amazonaws.com",
];

/// Text in which `*` stands for any text and `?` for one character.
#[derive(Debug)]
struct Pattern(String);

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // Where the last star stands, and how much it has taken.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(byte) if *byte == b'?' || *byte == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match &mut star {
                    Some((at, taken)) => {
                        *taken += 1;
                        (p, t) = (*at + 1, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

/// Patterns, those without wildcards apart.
#[derive(Debug, Default)]
struct Patterns {
    equal: HashSet<String>,
    like: Vec<Pattern>,
    /// Never a match.
    except: HashSet<String>,
}

impl Patterns {
    fn new<'a>(all: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns = Self::default();
        for one in all {
            if one.contains(['*', '?']) {
                patterns.like.push(Pattern(one.to_owned()));
            } else {
                patterns.equal.insert(one.to_owned());
            }
        }
        patterns
    }

    fn but(mut self, texts: &[&str]) -> Self {
        self.except = texts.iter().map(|text| (*text).to_owned()).collect();
        self
    }

    fn matches(&self, text: &str) -> bool {
        if self.except.contains(text) {
            return false;
        }
        self.equal.contains(text) || self.like.iter().any(|pattern| pattern.matches(text))
    }
}

#[derive(Debug)]
pub struct Automation {
    identities: Patterns,
    types: Patterns,
    invokers: Patterns,
    /// Of identities; none for null.
    known: Mutex<Memo<Option<bool>>>,
}

impl Automation {
    /// The built-in table and more identities.
    pub fn new(more: &[String]) -> Self {
        let more = more.iter().map(String::as_str);
        Self {
            identities: Patterns::new(IDENTITIES.iter().copied().chain(more)),
            types: Patterns::new(TYPES.iter().copied()),
            invokers: Patterns::new(INVOKERS.iter().copied()).but(HANDS),
            known: Mutex::default(),
        }
    }

    /// Fills `actor_is_automation`; false when no event names anybody.
    pub fn fill(&self, events: &RecordBatch, columns: &mut [ArrayRef]) -> bool {
        let text = |column: usize| -> &StringViewArray { events.column(column).as_string_view() };
        let types = text(col::ACTOR_TYPE);
        let invokers = text(col::ACTOR_INVOKED_BY);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let judge = |text: &str| Some(self.identities.matches(text));
        let identities = known.numbers(text(col::ACTOR_UID), judge);
        let some = |column: &StringViewArray| column.null_count() < column.len();
        if identities.is_none() && !some(types) && !some(invokers) {
            return false;
        }
        let types = Judged::of(types, &self.types);
        let invokers = Judged::of(invokers, &self.invokers);
        let of_row = |row: usize| {
            let number = identities.as_ref().map_or(0, |of_row| of_row[row]);
            let by_identity = known.found[number as usize];
            let all = [by_identity, types.at(row), invokers.at(row)];
            all.into_iter().flatten().reduce(|a, b| a || b)
        };
        let values: BooleanArray = (0..events.num_rows()).map(of_row).collect();
        columns[col::ACTOR_IS_AUTOMATION] = Arc::new(values);
        true
    }
}

/// A column of few different values, judged.
struct Judged<'a> {
    column: &'a StringViewArray,
    by_view: HashMap<u128, bool>,
    patterns: &'a Patterns,
}

impl<'a> Judged<'a> {
    fn of(column: &'a StringViewArray, patterns: &'a Patterns) -> Self {
        let mut by_view = HashMap::new();
        let mut last = None;
        for (row, view) in column.views().iter().enumerate() {
            if column.is_valid(row) && last != Some(*view) {
                last = Some(*view);
                by_view
                    .entry(*view)
                    .or_insert_with(|| patterns.matches(column.value(row)));
            }
        }
        Self {
            column,
            by_view,
            patterns,
        }
    }

    fn at(&self, row: usize) -> Option<bool> {
        if self.column.is_null(row) {
            return None;
        }
        let known = self.by_view.get(&self.column.views()[row]).copied();
        known.or_else(|| Some(self.patterns.matches(self.column.value(row))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("*", "", true),
            ("a**b?", "axxbz", true),
            ("a?", "a", false),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(
                Pattern(pattern.into()).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn controllers_and_services_are_told_from_people_and_workloads() {
        let automation = Automation::new(&["system:serviceaccount:argocd:*".into()]);
        for yes in [
            "system:node:ip-10-0-0-1",
            "system:kube-scheduler",
            "system:serviceaccount:kube-system:replicaset-controller",
            "system:serviceaccount:argocd:argocd-server",
            "eks:node-manager",
            "arn:aws:iam::111122223333:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
            "arn:aws-cn:iam::111122223333:role/aws-service-role/support.amazonaws.com/AWSServiceRoleForSupport",
            "service-1234@gcp-sa-logging.iam.gserviceaccount.com",
            "1234@cloudservices.gserviceaccount.com",
            "00000003-0000-0000-c000-000000000000",
        ] {
            assert!(automation.identities.matches(yes), "{yes}");
        }
        for no in [
            "ana",
            "system:serviceaccount:default:default",
            "system:serviceaccount:kube-system:default",
            "system:serviceaccount:shop:x-controller",
            "system:anonymous",
            "kubernetes-admin",
            "arn:aws:iam::111122223333:role/AWSServiceRoleForMe",
            // A path may hold nearly anything.
            "arn:aws:iam::111122223333:role/path/aws-service-role/x",
            "arn:aws:iam::111122223333:role/a:iam::111122223333:role/aws-service-role/x",
            "arn:aws:iam::111122223333:user/system:node:x",
            "service-1234@my-project.iam.gserviceaccount.com",
            "1234-compute@developer.gserviceaccount.com",
        ] {
            assert!(!automation.identities.matches(no), "{no}");
        }
        assert!(automation.types.matches("AWSService") && !automation.types.matches("IAMUser"));
        assert!(automation.invokers.matches("autoscaling.amazonaws.com"));
        assert!(
            automation
                .invokers
                .matches("member.org.stacksets.cloudformation.amazonaws.com")
        );
        assert!(!automation.invokers.matches("cloudformation.amazonaws.com"));
        assert!(!automation.invokers.matches("signin.example.org"));
    }
}
