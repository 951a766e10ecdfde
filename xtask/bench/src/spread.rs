//! Several measurements of the same thing, in three numbers.

use serde::Serialize;

/// Median, least and greatest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// How many measurements.
    pub(super) samples: usize,
}

impl Spread {
    /// Of at least one value.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted(values);
        Self {
            median: quantile(&sorted, 500),
            min: quantile(&sorted, 0),
            max: quantile(&sorted, 1000),
            samples: sorted.len(),
        }
    }

    /// Of some by others, pair by pair.
    pub(super) fn of_ratios(some: &[f64], others: &[f64]) -> Self {
        Self::of(some.iter().zip(others).map(|(some, other)| some / other))
    }
}

/// In rising order.
pub(super) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which so many thousandths of the sorted values lie (nearest rank).
pub(super) fn quantile(sorted: &[f64], per_mille: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * per_mille + 500) / 1000).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_ends_do_not_depend_on_the_order() {
        let spread = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]);
        assert!((spread.median - 3.0).abs() < f64::EPSILON, "{spread:?}");
        assert!((spread.min - 1.0).abs() < f64::EPSILON, "{spread:?}");
        assert!((spread.max - 5.0).abs() < f64::EPSILON, "{spread:?}");
        assert_eq!(spread.samples, 5);
    }

    #[test]
    fn the_99th_percentile_leaves_the_slowest_hundredth_out() {
        let values: Vec<f64> = (1..=1001).map(f64::from).collect();
        assert!((quantile(&values, 990) - 991.0).abs() < f64::EPSILON);
    }
}
