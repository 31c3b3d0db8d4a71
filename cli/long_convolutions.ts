// How exact long convolutions are summed, for people.
import type { ModelInfo } from "../engine/engine.ts";

export function describeLongConvolutions(how: NonNullable<ModelInfo["longConvolutions"]>): string {
  return how.form === "direct" ? "summed directly" : `summed online in windows of ${how.window}`;
}
