// From the checked body of POST /infill to the engine's prompt.
import type { Prompt } from "../../engine/request.ts";
import type { InfillRequest } from "./infill_schema.ts";

export function infillPrompt(body: InfillRequest): Prompt {
  return {
    kind: "infill",
    prefix: body.input_prefix,
    suffix: body.input_suffix,
    ...(body.prompt !== "" && { lineStart: body.prompt }),
    ...(body.fim_layout && { layout: body.fim_layout }),
    extra: body.input_extra.map(({ text, filename }) => filename ? { text, filename } : { text }),
    ...(body.filename && { filename: body.filename }),
  };
}
