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

fn mayBeChosen(id: u32) -> bool {
    if (isMasked && ((masks[maskStart + id / 32u] >> (id % 32u)) & 1u) == 0u) { return false; }
    return !isSuppressed(id);
}
