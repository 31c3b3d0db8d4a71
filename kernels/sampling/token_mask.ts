// Sets of token ids, one bit an id: which tokens a draw may choose. Bit `id % 32` of word `id / 32` stands for `id`.

/** Most masks in one step, all samples together: as many as the default number of sequences on a GPU. */
export const MAX_MASKS = 64;

/** Words of a mask over `vocabSize` ids. */
export function maskWords(vocabSize: number): number {
  return Math.ceil(vocabSize / 32);
}

/** The mask of `ids`; those outside the vocabulary are left out. */
export function maskOf(ids: Iterable<number>, vocabSize: number): Uint32Array<ArrayBuffer> {
  const mask = new Uint32Array(maskWords(vocabSize));
  for (const id of ids) if (id < vocabSize) mask[id >>> 5] |= 1 << (id & 31);
  return mask;
}

/** Whether the mask has `id`; false for what lies past its end. */
export function hasToken(mask: Uint32Array, id: number): boolean {
  return (mask[id >>> 5] >>> (id & 31) & 1) === 1;
}
