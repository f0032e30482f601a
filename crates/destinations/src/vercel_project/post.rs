//! Sending variables in arrays, and finding out what became of each.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use super::{
    api::Api,
    faults::{self, Meaning, Refusal},
    targets::Targets,
    wire::{Created, Record, Variable},
};
use crate::Fault;

/// Variables in one call. The largest array Vercel takes is not documented; it says when one is too long.
pub(super) const MOST_IN_ARRAY: usize = 50;

/// Calls that are made for one batch at most when Vercel refuses an array as a whole: enough to find a
/// few variables among fifty that are at fault, and no more than a minute's allowance.
const MOST_CALLS: usize = 24;

/// A record that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) id: String,
    pub(super) revision: Option<String>,
}

impl Made {
    pub(super) fn of(record: &Record) -> Self {
        Self { id: record.id.clone(), revision: record.updated() }
    }
}

/// One variable to send.
pub(super) struct Item<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    pub(super) comment: &'a str,
    pub(super) targets: Targets,
}

impl<'a> Item<'a> {
    pub(super) fn variable(&self) -> Variable<'a> {
        let kind = if self.targets.sensitive() { "sensitive" } else { "encrypted" };
        Variable { kind: Some(kind), ..self.unchanged() }
    }

    /// For a record that is there, whose type stays as it is.
    pub(super) fn unchanged(&self) -> Variable<'a> {
        Variable {
            key: self.key,
            value: self.value,
            kind: None,
            target: self.targets.words(),
            comment: self.comment,
        }
    }
}

impl Api {
    /// Sends all of them, in as few calls as Vercel lets it be. One outcome per item, in order.
    pub(super) async fn post(&self, items: &[Item<'_>], upsert: bool) -> Vec<Result<Made, Refusal>> {
        let mut outcomes: Vec<Option<Result<Made, Refusal>>> = items.iter().map(|_| None).collect();
        let mut waiting: Vec<Vec<usize>> = vec![(0..items.len()).collect()];
        let mut calls = 0;
        while let Some(mut part) = waiting.pop().filter(|part| !part.is_empty()) {
            let most = self.most_in_array.load(Ordering::Relaxed).max(1);
            if part.len() > most {
                waiting.push(part.split_off(most));
            }
            let sent: Vec<&Item<'_>> = part.iter().map(|at| &items[*at]).collect();
            let variables: Vec<Variable<'_>> = sent.iter().map(|item| item.variable()).collect();
            calls += 1;
            match self.create(&variables, upsert).await {
                Ok(answer) => {
                    for (at, outcome) in part.iter().zip(sort_out(&sent, answer)) {
                        outcomes[*at] = Some(outcome);
                    }
                }
                Err(refusal) => {
                    self.learn(&refusal, part.len());
                    let parts = if calls < MOST_CALLS { apart(&refusal, items, &part) } else { None };
                    if let Some((guilty, rest)) = parts {
                        for at in guilty {
                            outcomes[at] = Some(Err(refusal.clone()));
                        }
                        waiting.extend(rest.into_iter().rev());
                        continue;
                    }
                    for at in part {
                        outcomes[at] = Some(Err(refusal.clone()));
                    }
                    if matches!(refusal.meaning, Meaning::Other | Meaning::Denied | Meaning::NotFound) {
                        // It would be the same for the rest, which was not sent.
                        let fault = Fault { ambiguous: false, ..refusal.fault.clone() };
                        let unsent = Refusal { fault, ..refusal };
                        for at in waiting.drain(..).flatten() {
                            outcomes[at] = Some(Err(unsent.clone()));
                        }
                    }
                }
            }
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(unaccounted()))).collect()
    }

    /// Deletes records, one by one where there is no other way. One that is gone already is gone.
    pub(super) async fn delete_all(&self, ids: Vec<String>) -> BTreeMap<String, Result<(), Fault>> {
        let mut outcomes = BTreeMap::new();
        let mut waiting = vec![ids];
        let mut failed: Option<Fault> = None;
        while let Some(mut part) = waiting.pop() {
            let most = self.most_in_array.load(Ordering::Relaxed).max(1);
            if part.len() > most {
                waiting.push(part.split_off(most));
            }
            if let Some(fault) = &failed {
                outcomes.extend(part.into_iter().map(|id| (id, Err(fault.clone()))));
                continue;
            }
            let mut singly = Vec::new();
            if let [_] = part.as_slice() {
                singly = part;
            } else if !part.is_empty() {
                let all: Vec<&str> = part.iter().map(String::as_str).collect();
                match self.delete_many(&all).await {
                    Ok(gone) => {
                        let (gone, left): (Vec<String>, Vec<String>) =
                            part.into_iter().partition(|id| gone.contains(id));
                        outcomes.extend(gone.into_iter().map(|id| (id, Ok(()))));
                        singly = left;
                    }
                    Err(refusal) if refusal.meaning == Meaning::TooMany => {
                        self.learn(&refusal, part.len());
                        let second = part.split_off(part.len() / 2);
                        waiting.extend([second, part]);
                    }
                    // One of them is gone, and the others may be refused for it.
                    Err(refusal) if refusal.meaning == Meaning::NotFound => singly = part,
                    Err(refusal) => {
                        outcomes.extend(part.into_iter().map(|id| (id, Err(refusal.fault.clone()))));
                        failed = Some(Fault { ambiguous: false, ..refusal.fault });
                    }
                }
            }
            for id in singly {
                let outcome = match &failed {
                    Some(fault) => Err(fault.clone()),
                    None => match self.delete(&id).await {
                        Err(refusal) if refusal.meaning != Meaning::NotFound => Err(refusal.fault),
                        _ => Ok(()),
                    },
                };
                if let Err(fault) = &outcome {
                    failed = Some(Fault { ambiguous: false, ..fault.clone() });
                }
                outcomes.insert(id, outcome);
            }
        }
        outcomes
    }

    /// The next arrays are no longer than what is known to be too long already.
    fn learn(&self, refusal: &Refusal, len: usize) {
        if refusal.meaning == Meaning::TooMany {
            self.most_in_array.fetch_min((len / 2).max(1), Ordering::Relaxed);
        }
    }
}

/// When an array was refused as a whole, and some of it may be taken all the same: those that are at
/// fault, and the parts to send again.
fn apart(refusal: &Refusal, items: &[Item<'_>], part: &[usize]) -> Option<(Vec<usize>, Vec<Vec<usize>>)> {
    if part.len() < 2 || matches!(refusal.meaning, Meaning::Other | Meaning::Denied | Meaning::NotFound) {
        return None;
    }
    if refusal.meaning != Meaning::TooMany
        && let Some(key) = &refusal.key
    {
        let (guilty, rest): (Vec<usize>, Vec<usize>) =
            part.iter().partition(|at| concerns(refusal, key, &items[**at]));
        if !guilty.is_empty() {
            return Some((guilty, if rest.is_empty() { Vec::new() } else { vec![rest] }));
        }
    }
    let (first, second) = part.split_at(part.len() / 2);
    Some((Vec::new(), vec![first.to_vec(), second.to_vec()]))
}

fn concerns(refusal: &Refusal, key: &str, item: &Item<'_>) -> bool {
    item.key == key && (refusal.targets.is_empty() || refusal.targets.meets(item.targets))
}

/// What became of each, by key and environments.
fn sort_out(sent: &[&Item<'_>], answer: Created) -> Vec<Result<Made, Refusal>> {
    let mut outcomes: Vec<Option<Result<Made, Refusal>>> = sent.iter().map(|_| None).collect();
    let alone = |item: &Item<'_>| sent.iter().filter(|other| other.key == item.key).count() == 1;
    for record in &answer.created.0 {
        let at = sent.iter().position(|item| {
            item.key == record.key
                && (item.targets == record.target || (alone(item) && !record.id.is_empty()))
        });
        if let Some(at) = at.filter(|_| !record.id.is_empty()) {
            outcomes[at] = Some(Ok(Made::of(record)));
        }
    }
    for failed in answer.failed {
        let refusal = faults::of_item(&failed.error);
        for (at, item) in sent.iter().enumerate() {
            // One that names nobody is everybody's of whom nothing was heard.
            let meant = refusal.key.as_ref().is_none_or(|key| concerns(&refusal, key, item));
            if meant && outcomes[at].is_none() {
                outcomes[at] = Some(Err(refusal.clone()));
            }
        }
    }
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(unaccounted()))).collect()
}

fn unaccounted() -> Refusal {
    Fault::internal("answer_unreadable", "Vercel's answer does not tell what became of a variable")
        .ambiguous()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &str, targets: Targets) -> Item<'_> {
        Item { key, value: "v", comment: "c", targets }
    }

    fn outcomes(sent: &[Item<'_>], answer: &str) -> Vec<Result<String, (Meaning, &'static str)>> {
        let sent: Vec<&Item<'_>> = sent.iter().collect();
        sort_out(&sent, serde_json::from_str(answer).unwrap())
            .into_iter()
            .map(|outcome| {
                outcome.map(|made| made.id).map_err(|refusal| (refusal.meaning, refusal.fault.code))
            })
            .collect()
    }

    #[test]
    fn each_variable_gets_what_is_said_of_it() {
        let both = Targets::PRODUCTION.with(Targets::PREVIEW);
        let sent = [
            item("A", both),
            item("A", Targets::DEVELOPMENT),
            item("B", both),
            item("B", Targets::DEVELOPMENT),
            item("C", both),
        ];
        // In another order than asked for, targets in another order, as a word and as a list.
        let answer = r#"{
            "created": [
                {"id": "1", "key": "B", "target": ["preview", "production"]},
                {"id": "2", "key": "A", "target": "development"}
            ],
            "failed": [
                {"error": {"code": "ENV_CONFLICT", "message": "", "envVarKey": "A", "target": ["production"]}},
                {"error": {"code": "MAX_ENVS_EXCEEDED", "message": "", "key": "B", "target": "development"}}
            ]
        }"#;
        assert_eq!(
            outcomes(&sent, answer),
            [
                Err((Meaning::Conflict, "name_busy")),
                Ok("2".to_owned()),
                Ok("1".to_owned()),
                Err((Meaning::Item, "quota_exceeded")),
                Err((Meaning::Other, "answer_unreadable")),
            ]
        );
    }

    #[test]
    fn a_failure_that_names_nobody_is_that_of_the_rest() {
        let sent = [item("A", Targets::PREVIEW), item("B", Targets::PREVIEW)];
        let answer = r#"{"created": {"id": "1", "key": "A", "target": ["preview"]},
            "failed": [{"error": {"code": "UNKNOWN_ERROR", "message": ""}}]}"#;
        let told = outcomes(&sent, answer);
        assert_eq!(told, [Ok("1".to_owned()), Err((Meaning::Other, "provider_down"))]);
        // A failure of the key as a whole is one of each of its records.
        let sent = [item("A", Targets::PREVIEW), item("A", Targets::DEVELOPMENT)];
        let answer = r#"{"failed": [{"error": {"code": "KEY_RESERVED", "message": "", "envVarKey": "A"}}]}"#;
        let told = outcomes(&sent, answer);
        assert!(told.iter().all(|one| *one == Err((Meaning::Item, "name_reserved"))), "{told:?}");
    }

    #[test]
    fn an_array_is_taken_apart_at_what_is_at_fault() {
        let items = ["A", "B", "C", "D"].map(|key| item(key, Targets::PREVIEW));
        let refusal = |meaning, key: Option<&str>| Refusal {
            meaning,
            key: key.map(ToOwned::to_owned),
            ..Refusal::from(Fault::client("x", ""))
        };
        let all = [0, 1, 2, 3];
        let apart = |meaning, key, part| apart(&refusal(meaning, key), &items, part);
        assert_eq!(apart(Meaning::Item, Some("C"), &all), Some((vec![2], vec![vec![0, 1, 3]])));
        let halves = Some((vec![], vec![vec![0, 1], vec![2, 3]]));
        assert_eq!(apart(Meaning::Item, None, &all), halves);
        assert_eq!(apart(Meaning::TooMany, Some("C"), &all), halves);
        assert_eq!(apart(Meaning::Item, Some("Z"), &all), halves);
        for hopeless in [Meaning::Other, Meaning::Denied, Meaning::NotFound] {
            assert_eq!(apart(hopeless, None, &all), None);
        }
        assert_eq!(apart(Meaning::TooMany, None, &[1]), None);
    }
}
