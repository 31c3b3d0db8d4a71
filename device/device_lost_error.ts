/** The GPU went away (driver reset, removed adapter). Callers rebuild device and model, then go on. */
export class DeviceLostError extends Error {
  override readonly name = "DeviceLostError";
}
