// A process whose wall clock is wrong by CHAOS_CLOCK_SKEW_MS.
const skewMs = Number(process.env["CHAOS_CLOCK_SKEW_MS"]);
const RealDate = Date;
const now = (): number => RealDate.now() + skewMs;

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args: [], newTarget: NewableFunction) =>
    Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget) as object,
  get: (target, property, receiver): unknown =>
    property === "now" ? now : Reflect.get(target, property, receiver),
});
