// Who runs and waits and where blocks are, for whoever watches the engine; what is counted, over all devices that the
// engine has had.
import type { EngineStats } from "./engine.ts";
import type { PlacesView } from "./places.ts";

type Totals = Pick<EngineStats, "preemptions" | "parks" | "unparks">;
type Present = Pick<
  EngineStats,
  | "waiting"
  | "running"
  | "freeBlocks"
  | "cachedBlocks"
  | "totalBlocks"
  | "totalStateSlots"
  | "freeStateSlots"
  | "stateSnapshots"
  | "parkedBlocks"
  | "hostBlocks"
>;

export class PlaceStats {
  #places: PlacesView | undefined;
  #before: Totals = { preemptions: 0, parks: 0, unparks: 0 };

  /** The places of a new device; nobody will have any on the old one. */
  watch(places: PlacesView) {
    this.#before = this.#totals;
    this.#places = places;
  }

  get counts(): Present & Totals {
    const places = this.#places;
    return {
      waiting: places?.waiting.length ?? 0,
      running: places?.running.length ?? 0,
      freeBlocks: places?.numFreeBlocks ?? 0,
      cachedBlocks: places?.numCachedBlocks ?? 0,
      totalBlocks: places?.numBlocks ?? 0,
      totalStateSlots: places?.numStateSlots ?? 0,
      freeStateSlots: places?.numFreeStateSlots ?? 0,
      stateSnapshots: places?.numStateSnapshots ?? 0,
      parkedBlocks: places?.numParkedBlocks ?? 0,
      hostBlocks: places?.numHostBlocks ?? 0,
      ...this.#totals,
    };
  }

  get #totals(): Totals {
    const { preemptions, parks, unparks } = this.#before;
    const moved = this.#places?.numMoved;
    return {
      preemptions: preemptions + (this.#places?.numPreemptions ?? 0),
      parks: parks + (moved?.parks ?? 0),
      unparks: unparks + (moved?.unparks ?? 0),
    };
  }
}
