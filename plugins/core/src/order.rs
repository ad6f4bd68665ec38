//! Sorting with one sort: a module would carry five hundred bytes to three kilobytes for each further type and order.

use std::cmp::Ordering;

/// Sorts a list; elements that compare as equal may change places.
pub(crate) fn sort<T>(list: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    let mut places: Vec<usize> = (0..list.len()).collect();
    sort_places(&mut places, &mut |a, b| match (list.get(a), list.get(b)) {
        (Some(a), Some(b)) => compare(a, b),
        // Places are those of the list, so this is never asked.
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    let mut elements: Vec<Option<T>> = list.drain(..).map(Some).collect();
    list.extend(places.into_iter().filter_map(|place| elements.get_mut(place)?.take()));
}

/// Sorts numbers and keeps each once.
pub(crate) fn sort_numbers(numbers: &mut Vec<usize>) {
    sort_places(numbers, &mut |a, b| a.cmp(&b));
    numbers.dedup();
}

fn sort_places(places: &mut [usize], compare: &mut dyn FnMut(usize, usize) -> Ordering) {
    places.sort_unstable_by(|a, b| compare(*a, *b));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_sorts_as_the_standard_library_does(mut list: Vec<(u8, u8)>, mut numbers: Vec<usize>) {
            let (mut sorted, mut distinct) = (list.clone(), numbers.clone());
            sorted.sort_unstable();
            distinct.sort_unstable();
            distinct.dedup();
            sort(&mut list, Ord::cmp);
            sort_numbers(&mut numbers);
            prop_assert_eq!((list, numbers), (sorted, distinct));
        }
    }
}
