//! Block: bytes compressed with LZ4, as `plain length u32 big-endian · LZ4 block`. Format of the block:
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>.

/// Most bytes that one byte of a block can unpack to (same page): a length that claims more is not even tried.
const RATIO_MAX: usize = 255;

/// Most bytes of a plain text: twice a message between members, and no entry and no record is larger than that.
const PLAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Packs bytes into a block.
pub(crate) fn pack(plain: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(plain);
    let mut block = Vec::with_capacity(4 + packed.len());
    block.extend((plain.len() as u32).to_be_bytes());
    block.extend(packed);
    block
}

/// Inverse of [`pack`]; `None` for anything else.
pub(crate) fn unpack(block: &[u8]) -> Option<Vec<u8>> {
    let (length, packed) = block.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > PLAIN_BYTES_MAX.min(packed.len().saturating_mul(RATIO_MAX)) {
        return None;
    }
    let plain = lz4_flex::block::decompress(packed, length).ok()?;
    (plain.len() == length).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_unpacks_to_what_was_packed() {
        for plain in [Vec::new(), vec![7], vec![7; 100_000], (0..=255).collect()] {
            assert_eq!(unpack(&pack(&plain)), Some(plain));
        }
    }

    #[test]
    fn invalid_blocks_are_refused_before_memory_is_allocated() {
        let block = pack(&[7; 1_000]);
        let mut large = block.clone();
        large[..4].fill(0xff);
        let mut longer = block.clone();
        longer[3] += 1;
        for wrong in [&block[..3], &block[..block.len() - 1], &large, &longer] {
            assert_eq!(unpack(wrong), None);
        }
    }
}
