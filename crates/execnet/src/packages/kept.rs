//! What takes long to make, kept in this process for as long as it holds.

use std::sync::{Arc, Mutex, PoisonError};

/// How many are kept.
const MOST: usize = 32;

/// Values by their keys, the latest last.
pub(super) struct Kept<K, V>(Mutex<Vec<(K, Slot<V>)>>);

/// Locked by whoever makes the value: others that want the same wait for it.
type Slot<V> = Arc<Mutex<Option<Arc<V>>>>;

impl<K: PartialEq, V> Kept<K, V> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The value for this key, if it still holds; else it is made. An error is not kept.
    pub(super) fn get<E>(
        &self,
        key: K,
        holds: impl FnOnce(&V) -> bool,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, E> {
        let slot = self.slot(key);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = slot.as_ref().filter(|value| holds(value)) {
            return Ok(value.clone());
        }
        *slot = None;
        let value = Arc::new(make()?);
        *slot = Some(value.clone());
        Ok(value)
    }

    fn slot(&self, key: K) -> Slot<V> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = all.iter().position(|(other, _)| *other == key);
        let kept = place.map_or_else(|| (key, Slot::default()), |place| all.remove(place));
        let slot = kept.1.clone();
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push(kept);
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_value_is_made_again_only_if_it_does_not_hold() {
        let kept = Kept::new();
        let get = |key: u32, holds: bool, new: u32| {
            *kept.get(key, |_| holds, || Ok::<u32, Infallible>(new)).unwrap()
        };
        assert_eq!((get(1, true, 10), get(1, true, 11), get(2, true, 20)), (10, 10, 20));
        assert_eq!((get(1, false, 12), get(1, true, 13)), (12, 12));
        assert_eq!(kept.get(3, |_| true, || Err("no")), Err("no"));
        assert_eq!(get(3, true, 30), 30);
        // the oldest goes
        assert_eq!((get(2, true, 21), (10..41).map(|key| get(key, true, 0)).sum::<u32>()), (20, 0));
        assert_eq!((get(2, true, 22), get(1, true, 14)), (20, 14));
    }

    #[test]
    fn one_thread_makes_what_several_want() {
        let kept = Kept::new();
        let made = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let make = || {
                        *made.lock().unwrap() += 1;
                        Ok::<(), Infallible>(())
                    };
                    kept.get((), |()| true, make).unwrap();
                });
            }
        });
        assert_eq!(*made.lock().unwrap(), 1);
    }
}
