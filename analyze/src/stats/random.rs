//! A generator of pseudorandom numbers that stays the same for ever.
//!
//! A verdict must be the same bytes on every machine and in every version. The generators of `rand` may change between
//! its versions, so this is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA
//! 2014), written out.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, each equally likely but for one part in 2^64 / `bound`. 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of the standard normal distribution, by the method of Box and Muller.
    pub fn normal(&mut self) -> f64 {
        // 1 − unit() is above 0, so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// A seed that is a hash of the input, so that the same input is resampled in the same way.
#[derive(Debug, Default)]
pub struct Seed(SipHasher24);

impl Seed {
    /// The seed of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        // The length keeps "ab", "c" apart from "a", "bc".
        self.0.write_u64(text.len() as u64);
        self.0.write(text.as_bytes());
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.write_u64(number);
        self
    }

    /// The seed of all that was added.
    pub fn random(&self) -> Random {
        Random::new(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs for the seed 1234567, as widely published for SplitMix64.
    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        let mut random = Random::new(1_234_567);
        let numbers = [(); 3].map(|()| random.bits());
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn numbers_below_a_bound_are_equally_likely() {
        let mut random = Random::new(1);
        let mut seen = [0; 7];
        (0..70_000).for_each(|_| seen[random.below(7)] += 1);
        assert!(
            seen.iter().all(|times| (9_700..10_300).contains(times)),
            "{seen:?}"
        );
    }

    #[test]
    fn a_shuffle_reaches_every_order_equally_often() {
        let mut random = Random::new(2);
        let mut seen = std::collections::BTreeMap::<_, u32>::new();
        for _ in 0..6_000 {
            let mut items = [0, 1, 2];
            random.shuffle(&mut items);
            *seen.entry(items).or_default() += 1;
        }
        assert!(
            seen.len() == 6 && seen.values().all(|times| (850..1_150).contains(times)),
            "{seen:?}"
        );
    }

    #[test]
    fn every_part_of_the_input_changes_the_seed() {
        let first = |build: fn(&mut Seed) -> &mut Seed| build(&mut Seed::new()).random().bits();
        let seeds = [
            first(|seed| seed),
            first(|seed| seed.text("ab").text("c")),
            first(|seed| seed.text("a").text("bc")),
            first(|seed| seed.number(1)),
            first(|seed| seed.number(2)),
        ];
        let distinct: std::collections::BTreeSet<_> = seeds.into();
        assert_eq!(distinct.len(), seeds.len());
    }
}
