//! Integers of any size, as sign and magnitude. They are carried, not calculated with.

use std::fmt;

/// An integer of any size.
///
/// ```
/// use execnet::value::BigInt;
///
/// let number = BigInt::from(-(1_i128 << 70));
/// assert_eq!(i128::try_from(&number), Ok(-(1_i128 << 70)));
/// assert_eq!(number.to_string(), "-0x400000000000000000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BigInt {
    negative: bool,
    /// Little-endian, without trailing zeros.
    magnitude: Vec<u8>,
}

/// It does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the integer is too large")]
pub struct TooLarge;

impl BigInt {
    /// From a sign and a magnitude, whose bytes are little-endian.
    #[must_use]
    pub fn new(negative: bool, magnitude: impl Into<Vec<u8>>) -> Self {
        let mut magnitude = magnitude.into();
        let length = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        magnitude.truncate(length);
        Self { negative: negative && length > 0, magnitude }
    }

    /// Whether it is less than zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// Its magnitude as little-endian bytes, without trailing zeros.
    #[must_use]
    pub fn magnitude(&self) -> &[u8] {
        &self.magnitude
    }

    /// From digits of 15 bits each, the least significant first.
    pub(crate) fn from_digits(negative: bool, digits: impl ExactSizeIterator<Item = u16>) -> Self {
        let mut magnitude = Vec::with_capacity(digits.len() * 15 / 8 + 1);
        let (mut bits, mut have) = (0_u32, 0);
        for digit in digits {
            bits |= u32::from(digit) << have;
            have += 15;
            while have >= 8 {
                magnitude.push(bits as u8);
                bits >>= 8;
                have -= 8;
            }
        }
        magnitude.push(bits as u8);
        Self::new(negative, magnitude)
    }

    fn small(&self) -> Option<u128> {
        let mut bytes = [0; 16];
        bytes.get_mut(..self.magnitude.len())?.copy_from_slice(&self.magnitude);
        Some(u128::from_le_bytes(bytes))
    }
}

/// A little-endian magnitude as digits of 15 bits, the least significant first, without trailing zeros.
pub(crate) fn digits(magnitude: &[u8]) -> Vec<u16> {
    let mut digits = Vec::with_capacity(magnitude.len() * 8 / 15 + 1);
    let (mut bits, mut have) = (0_u32, 0);
    for &byte in magnitude {
        bits |= u32::from(byte) << have;
        have += 8;
        if have >= 15 {
            digits.push((bits & 0x7fff) as u16);
            bits >>= 15;
            have -= 15;
        }
    }
    digits.push(bits as u16);
    while digits.last() == Some(&0) {
        digits.pop();
    }
    digits
}

impl From<i128> for BigInt {
    fn from(number: i128) -> Self {
        Self::new(number < 0, number.unsigned_abs().to_le_bytes())
    }
}

impl From<u128> for BigInt {
    fn from(number: u128) -> Self {
        Self::new(false, number.to_le_bytes())
    }
}

impl From<i64> for BigInt {
    fn from(number: i64) -> Self {
        i128::from(number).into()
    }
}

impl TryFrom<&BigInt> for i128 {
    type Error = TooLarge;

    fn try_from(number: &BigInt) -> Result<Self, TooLarge> {
        let magnitude = number.small().ok_or(TooLarge)?;
        if number.negative {
            0_i128.checked_sub_unsigned(magnitude).ok_or(TooLarge)
        } else {
            magnitude.try_into().map_err(|_| TooLarge)
        }
    }
}

impl TryFrom<&BigInt> for u128 {
    type Error = TooLarge;

    fn try_from(number: &BigInt) -> Result<Self, TooLarge> {
        number.small().filter(|_| !number.negative).ok_or(TooLarge)
    }
}

impl TryFrom<&BigInt> for i64 {
    type Error = TooLarge;

    fn try_from(number: &BigInt) -> Result<Self, TooLarge> {
        i128::try_from(number)?.try_into().map_err(|_| TooLarge)
    }
}

/// In hexadecimal, which is fast even for huge numbers: `-0x1f`.
impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, rest)) = self.magnitude.split_last() else { return f.write_str("0x0") };
        write!(f, "{}0x{last:x}", if self.negative { "-" } else { "" })?;
        rest.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
