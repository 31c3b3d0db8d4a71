// Which logits may be chosen: those of the sample's mask, where it has one, that are not suppressed.
// masks u32 [MAX_MASKS, MASK_WORDS], one bit an id.

@group(0) @binding(3) var<storage, read> masks: array<u32>;

var<private> maskStart: u32;
var<private> isMasked: bool;

/** Looks the sample's mask up, once for all its logits. */
fn useMaskOf(sample: u32) {
    let mask = control[SAMPLES + sample * SAMPLE_WORDS + 10u];
    isMasked = mask != NO_MASK;
    maskStart = select(0u, mask * MASK_WORDS, isMasked);
}

/** The key of a logit that may be chosen, else 0. */
fn candidateKey(sample: u32, id: u32) -> u32 {
    let key = keyOf(logits[sample * ROW_STRIDE + id]);
    var isOut = isSuppressed(id);
    if (isMasked) { isOut = isOut || ((masks[maskStart + id / 32u] >> (id % 32u)) & 1u) == 0u; }
    return select(key, 0u, isOut);
}
