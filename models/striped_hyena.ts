// How StripedHyena (Poli et al. 2023) stores the three parts of a Hyena layer's projection: head by head, [x2 | x1 | v] of
// each, where Hyena has one part after the other. x2 is the gate after the convolution, x1 that before it.

/** The stored row of each row of [x2 | x1 | v], for the projection, its bias and the short filter alike. */
export function stripedRowOrder(width: number, numHeads: number): Uint32Array {
  const size = width / numHeads;
  return Uint32Array.from({ length: 3 * width }, (_, row) => {
    const part = Math.floor(row / width), channel = row % width, head = Math.floor(channel / size);
    return (3 * head + part) * size + channel % size;
  });
}
