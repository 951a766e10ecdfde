//! Whether submissions are in an order that clients can have made: each client submitted the same
//! ones, in the same order, all at the same time.

use std::collections::BTreeSet;

use common::grammar::submission::Submission;

/// With equal submissions at several places of the input, more than one client may have been the one.
/// So many possibilities are followed; if there are more, the rest is not judged.
const POSSIBILITIES_MAX: usize = 10_000;

/// Returns the first one of `found` that none of the clients can have submitted there.
pub(super) fn first_impossible(
    found: &[Submission],
    inputs: &[Submission],
    clients: usize,
) -> Option<usize> {
    // How many clients are at each place of the input, in every way that explains what was found.
    let mut start = vec![0; inputs.len() + 1];
    start[0] = clients;
    let mut possible = BTreeSet::from([start]);
    for (i, submission) in found.iter().enumerate() {
        let mut next = BTreeSet::new();
        for places in &possible {
            for (place, input) in inputs.iter().enumerate() {
                if places[place] > 0 && input == submission {
                    let mut places = places.clone();
                    places[place] -= 1;
                    places[place + 1] += 1;
                    next.insert(places);
                }
            }
        }
        if next.is_empty() {
            return Some(i);
        }
        if next.len() > POSSIBILITIES_MAX {
            return None;
        }
        possible = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parse(texts: &str) -> Vec<Submission> {
        texts.split_whitespace().map(|text| format!("{text};1").parse().unwrap()).collect()
    }

    #[rstest]
    #[case("a b c", "a b c", 1, None)]
    #[case("a c b", "a b c", 1, Some(1))]
    #[case("b a c", "a b c", 1, Some(0))]
    #[case("a a b b", "a b", 2, None)]
    #[case("a b a b", "a b", 2, None)]
    #[case("a b b a", "a b", 2, Some(2))]
    #[case("a a a", "a b", 2, Some(2))]
    #[case("x", "a b", 2, Some(0))]
    // Which of the two equal ones it was is known only later.
    #[case("a b a c a b a c", "a b a c", 2, None)]
    #[case("a b a a c b a c", "a b a c", 2, None)]
    #[case("a b a c c", "a b a c", 2, Some(4))]
    fn orders(
        #[case] found: &str,
        #[case] inputs: &str,
        #[case] clients: usize,
        #[case] impossible: Option<usize>,
    ) {
        assert_eq!(first_impossible(&parse(found), &parse(inputs), clients), impossible);
    }

    #[test]
    fn many_equal_ones_end_soon() {
        let inputs = parse(&"a ".repeat(30));
        assert_eq!(first_impossible(&parse(&"a ".repeat(240)), &inputs, 8), None);
    }
}
