// How configurations of models with rotary positions say what turns: heads of how many columns, and by what base, which
// older files have beside other fields, newer ones inside `rope_parameters`.
import { z } from "zod";

const ONLY_DEFAULT = 'only the default rotary positions are supported, must be "default"';

const ropeSchema = z.object({
  rope_type: z.literal("default", ONLY_DEFAULT).optional(),
  type: z.literal("default", ONLY_DEFAULT).optional(),
  rope_theta: z.number().positive().optional(),
});

/** The fields, for an architecture's own schema. */
export const rotaryFields = {
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
};

/** The columns of a head, where heads may be of a size of their own. */
interface HeadFields {
  readonly hidden_size: number;
  readonly num_attention_heads: number;
  readonly head_dim?: number | null | undefined;
}

export function headSizeOf(config: HeadFields): number {
  return config.head_dim ?? config.hidden_size / config.num_attention_heads;
}

/** Whether heads have columns to turn in pairs; `ODD_HEADS` is the error where not. */
export function hasEvenHeads(config: HeadFields): boolean {
  return headSizeOf(config) % 2 === 0;
}

export const ODD_HEADS = {
  path: ["num_attention_heads"],
  error: "must give heads of even size, for rotary positions",
};

/** The base of the angles, transformers' default where a file gives none. */
export function rotaryBaseOf(config: z.output<z.ZodObject<typeof rotaryFields>>): number {
  return config.rope_parameters?.rope_theta ?? config.rope_theta ?? config.rope_scaling?.rope_theta ?? 10_000;
}
