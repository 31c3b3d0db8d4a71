// Host memory for blocks that gave way on the device, in slots of equal size. Taken as slots come into use, in pieces,
// and kept.

/** Bytes of a piece: large enough that pieces are few, small enough that little is taken in vain. */
const PIECE_BYTES = 2 ** 26;

export class HostSlots {
  readonly #slotBytes: number;
  readonly #slotsPerPiece: number;
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];

  constructor(slotBytes: number) {
    this.#slotBytes = slotBytes;
    this.#slotsPerPiece = Math.max(1, Math.floor(PIECE_BYTES / slotBytes));
  }

  /** The slot's memory. */
  bytes(slot: number): Uint8Array<ArrayBuffer> {
    const piece = Math.floor(slot / this.#slotsPerPiece);
    this.#pieces[piece] ??= new Uint8Array(this.#slotsPerPiece * this.#slotBytes);
    const start = slot % this.#slotsPerPiece * this.#slotBytes;
    return this.#pieces[piece].subarray(start, start + this.#slotBytes);
  }
}
