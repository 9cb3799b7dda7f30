//! Every rule that ships is fit to ship and plans on the event schema.

use std::collections::BTreeMap;
use std::path::Path;

use datafusion::physical_plan::{ExecutionPlan, displayable};
use weir_detections::{LoadedRule, embedded, lint, load_dir};
use weir_engine::Tables;
use weir_engine::dispatch;
use weir_engine::plan::{self, Plan, RowPart};
use weir_engine::schema::FAMILIES;

fn packs() -> Vec<LoadedRule> {
    embedded().unwrap()
}

#[test]
fn no_rule_gets_a_remark() {
    for loaded in packs() {
        let remarks: Vec<_> = lint(&loaded).iter().map(ToString::to_string).collect();
        assert!(remarks.is_empty(), "{}: {remarks:?}", loaded.rule.path);
    }
}

#[test]
fn the_binary_holds_what_the_folder_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packs");
    let by_path = |rules: Vec<LoadedRule>, root: &Path| -> BTreeMap<String, LoadedRule> {
        let relative = |loaded: LoadedRule| {
            let path = Path::new(&loaded.rule.path);
            let path = path.strip_prefix(root).unwrap_or(path);
            (path.display().to_string(), loaded)
        };
        rules.into_iter().map(relative).collect()
    };
    let on_disk = by_path(load_dir(&folder).unwrap(), &folder);
    let in_binary = by_path(packs(), Path::new(""));
    let hint = "the binary's packs are stale: touch detections/src/embed.rs";
    assert!(on_disk.keys().eq(in_binary.keys()), "{hint}");
    for (path, loaded) in &on_disk {
        assert_eq!(
            loaded.rule.version(),
            in_binary[path].rule.version(),
            "{hint}"
        );
        assert_eq!(loaded.tests, in_binary[path].tests, "{hint}");
    }
}

#[tokio::test]
async fn every_rule_plans_and_is_dispatched_by_a_literal() {
    let packs = packs();
    let declared = Tables::default().with_declared(packs.iter().map(|loaded| &loaded.rule));
    let tables = declared.unwrap();
    let session = plan::session(&[], &tables).await.unwrap();
    let (mut windows, mut refused) = (0, vec![]);
    for LoadedRule { rule, .. } in packs {
        let plan = match Plan::new(&session, &rule).await {
            Ok(plan) => plan,
            Err(error) => {
                refused.push(format!("{}: {error}", rule.path));
                continue;
            }
        };
        windows += usize::from(matches!(plan, Plan::Window(_)));
        let predicate = plan.predicate();
        let literals = predicate
            .as_ref()
            .and_then(dispatch::necessary)
            .unwrap_or_default();
        // Agents alert seldom: there the family itself is telling.
        let telling = |(_, text): &(usize, String)| {
            text == "agent_alerts" || !FAMILIES.contains(&text.as_str())
        };
        if !literals.iter().any(telling) {
            refused.push(format!(
                "{}: needs no literal besides the family",
                rule.path
            ));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(windows >= 8, "{windows} windowed rules");
}

/// All that a plan does.
fn shown(plan: &Plan) -> String {
    let tree = |plan: &dyn ExecutionPlan| {
        format!("{}\n{:?}", displayable(plan).indent(true), plan.schema())
    };
    // How a row part comes to what it returns may differ.
    let rows = |rows: &RowPart| format!("{:#?}\n{:#?}", rows.predicate, rows.exprs());
    match plan {
        Plan::Event(plan) => {
            let joined = plan.joined.then(|| tree(plan.template.as_ref()));
            let remembered = plan.remembered.as_ref().map(rows);
            let (rows, output) = (rows(&plan.rows), &plan.output);
            format!("{rows}\n{output:#?}\n{remembered:#?}\n{joined:#?}")
        }
        Plan::Window(plan) => {
            let inputs = plan.inputs.iter().map(|input| {
                let reduce = input.reduce.as_ref();
                let reduce = reduce.map(|r| (tree(r.partial.as_ref()), tree(r.merge.as_ref())));
                format!("{}\n{reduce:#?}", rows(&input.rows))
            });
            let inputs: Vec<_> = inputs.collect();
            let finish = tree(plan.finish.as_ref());
            let parts = (&plan.keys, &plan.need, &plan.conditions);
            format!("{inputs:#?}\n{finish}\n{parts:#?}")
        }
    }
}

#[tokio::test]
async fn rules_planned_over_few_columns_have_the_plan_that_they_have_over_all() {
    let packs: Vec<_> = packs().into_iter().map(|loaded| loaded.rule).collect();
    let declared = Tables::default().with_declared(packs.iter());
    let session = plan::session(&[], &declared.unwrap()).await.unwrap();
    let short = plan::all(&session, &packs.iter().collect::<Vec<_>>());
    for (rule, short) in packs.iter().zip(short) {
        let long = shown(&Plan::unabridged(&session.state(), rule).await.unwrap());
        let short = shown(&short.unwrap());
        assert!(
            short == long,
            "{}\nover few columns:\n{short}\nover all:\n{long}",
            rule.path
        );
    }
}

#[test]
fn each_source_has_a_pack() {
    let mut count = BTreeMap::<String, usize>::new();
    for LoadedRule { rule, .. } in packs() {
        let pack = rule.path.split('/').next().unwrap().to_owned();
        *count.entry(pack).or_default() += 1;
    }
    assert!(
        count
            .keys()
            .eq(["alerts", "cloudtrail", "falco", "findings", "k8s_audit"]),
        "{count:?}"
    );
    assert!(count.values().sum::<usize>() >= 30, "{count:?}");
}
