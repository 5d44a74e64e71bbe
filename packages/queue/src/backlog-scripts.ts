/** BullMQ's priorities end at 2^21. */
const LAST_PRIORITY = 1_900_000;
/** When the virtual clock is so far from its base, the base moves up. */
const FAR = 1_000_000;
/** Pairs of a tenant: who has more queued than this is not looked at for the express queue. */
const SMALL_BACKLOG = 2_000;

/** The sorted set in which BullMQ keeps what waits by priority: a score is priority × 2^32 + a counter. */
const WAITING_LUA = `
local function waiting_of(base, clock)
  return base .. (clock == "interactive" and "-interactive" or "") .. ":prioritized"
end
`;

/** Arguments of one job to {@link ADMIT_SCRIPT}. */
export const ADMIT_ARGUMENTS = 10;

/**
 * KEYS: 1 backlog, 2 queued, 3 limits, 4 base. ARGV: 1 and 2 default limits, then for each job: its id, pairs, bytes,
 * tenant, clock, lane, the lane's weight, 1 if limits bind, the request's digest or "", 1 if it may go before all. Returns
 * for each job 1, the priority, the pairs that were queued before it, and 1 if it goes before all that wait; or 0,
 * which limit, what is queued, and the limit; or 0 and `conflict` if the id stands for another request. A job that is
 * known gets the place that it got before, so that it never stands in two queues. An entry of `queued` is
 * `<pairs> <bytes> <start tag> <ms since 1970> <clock>+<1 if it goes before all>:<digest> <tenant>`, where the time is that
 * of its latest admission, for `BacklogSweeper` to leave alone what is on its way to a queue.
 *
 * It is run for every job, so it asks Redis as little as it can: six calls, and one more while little of the
 * tenant is queued; the time once for all.
 */
export const ADMIT_SCRIPT: string = `${WAITING_LUA}
local clock_now = redis.call("TIME")
local time = clock_now[1] .. string.format("%03d", math.floor(tonumber(clock_now[2]) / 1000))
local function admit(job, job_pairs, job_bytes, tenant, clock, lane, lane_weight, is_bound, digest, may_be_next)
  local flow = "finish/" .. lane .. "/" .. tenant
  local of_pairs, of_bytes = "pairs/" .. tenant, "bytes/" .. tenant
  local now = redis.call("HMGET", KEYS[1], "pairs", "bytes", of_pairs, of_bytes, "clock/" .. clock, flow, "base/" .. clock)
  for i = 1, 7 do now[i] = tonumber(now[i] or "0") end
  local function priority(start)
    return tostring(math.min(${LAST_PRIORITY}, math.max(1, 1 + math.floor(start - now[7]))))
  end
  local known = redis.call("HGET", KEYS[2], job)
  if known then
    local known_start, was_next, known_digest = string.match(known, "^%S+ %S+ (%S+) %S+ [^%s+]+%+(%d):(%S*)")
    known_start = known_start or string.match(known, "^%S+ %S+ (%S+)")
    if digest ~= "" and known_digest and known_digest ~= "" and known_digest ~= digest then return {0, "conflict"} end
    redis.call("HSET", KEYS[2], job, (string.gsub(known, "^(%S+ %S+ %S+) %S+", "%1 " .. time, 1)))
    return {1, priority(tonumber(known_start)), "1", was_next or "0"}
  end
  -- It may have ended since its producer looked for it, or was not told in time that it is queued: then nobody would take it
  -- off. Another request may have had its key meanwhile.
  local record = redis.call("GET", KEYS[4] .. ":result:" .. job)
  if record then
    local is_json, ended = pcall(cjson.decode, digest ~= "" and record or "{}")
    if is_json and type(ended) == "table" and ended.digest and ended.digest ~= digest then return {0, "conflict"} end
    return {1, "1", string.format("%.0f", now[1]), "0"}
  end
  local adds = {tonumber(job_pairs), tonumber(job_bytes)}
  local most = redis.call("HMGET", KEYS[3], "weight/" .. tenant, "pairs", "bytes", of_pairs, of_bytes, "tenantPairs", "tenantBytes")
  if is_bound == "1" then
    local bounds = {most[2] or ARGV[1], most[3] or ARGV[2], most[4] or most[6], most[5] or most[7]}
    -- Jobs of no tenant are nobody's, and bound by the model's limits alone.
    if tenant == "" then bounds = {bounds[1], bounds[2]} end
    local names = {"pairs", "bytes", "tenant pairs", "tenant bytes"}
    for i = 1, 4 do
      if bounds[i] and now[i] > 0 and now[i] + adds[2 - i % 2] > tonumber(bounds[i]) then
        return {0, names[i], string.format("%.0f", now[i]), bounds[i]}
      end
    end
  end
  local start = math.max(now[5], now[6])
  local weight = tonumber(most[1] or "1") * tonumber(lane_weight)
  local finish = string.format("%.6f", start + (adds[2] + 64 * adds[1]) / 4096 / weight)
  local function sum(i) return string.format("%.0f", now[i] + adds[2 - i % 2]) end
  redis.call("HSET", KEYS[1], flow, finish, "pairs", sum(1), "bytes", sum(2), of_pairs, sum(3), of_bytes, sum(4))
  local is_next = may_be_next == "1" and now[1] > 0 and now[6] <= now[5]
  if may_be_next == "1" and not is_next and now[3] < ${SMALL_BACKLOG} then
    local first = redis.call("ZRANGE", waiting_of(KEYS[4], clock), 0, 0, "WITHSCORES")[2]
    is_next = first ~= nil and tonumber(priority(start)) < math.floor(tonumber(first) / ${2 ** 32})
  end
  local place = clock .. "+" .. (is_next and "1" or "0") .. ":" .. digest
  redis.call("HSET", KEYS[2], job,
    table.concat({job_pairs, job_bytes, string.format("%.6f", start), time, place, tenant}, " "))
  return {1, priority(start), string.format("%.0f", now[1]), is_next and "1" or "0"}
end
local replies = {}
for at = 3, #ARGV, ${ADMIT_ARGUMENTS} do
  replies[#replies + 1] = admit(unpack(ARGV, at, at + ${ADMIT_ARGUMENTS - 1}))
end
return replies
`;

/**
 * `release(backlog, queued, base, job)` in Lua, for every script that ends a job. When the virtual clock
 * has come far, the waiting jobs' priorities are moved down by as much, since BullMQ's end at 2^21 (once in
 * some 4 GB of text).
 */
export const RELEASE_LUA: string = `${WAITING_LUA}
local function rebase(waiting, far)
  local all = redis.call("ZRANGE", waiting, 0, -1, "WITHSCORES")
  for i = 1, #all, 2 do
    local score = tonumber(all[i + 1])
    local rest = score % ${2 ** 32}
    local moved = math.max(1, (score - rest) / ${2 ** 32} - far) * ${2 ** 32} + rest
    redis.call("ZADD", waiting, string.format("%.0f", moved), all[i])
  end
end

local function release(backlog, queued, base, job)
  local entry = redis.call("HGET", queued, job)
  if not entry then return end
  redis.call("HDEL", queued, job)
  local count, bytes, start, clock, tenant = string.match(entry, "^(%S+) (%S+) (%S+) %S+ ([^%s+]+)%S* (.*)$")
  local of_pairs, of_bytes = "pairs/" .. tenant, "bytes/" .. tenant
  local now = redis.call("HMGET", backlog, "pairs", "bytes", of_pairs, of_bytes, "clock/" .. clock, "base/" .. clock)
  for i = 1, 6 do now[i] = tonumber(now[i] or "0") end
  if now[1] <= tonumber(count) then
    redis.call("DEL", backlog)
    return
  end
  local function rest(i, less) return string.format("%.0f", now[i] - tonumber(less)) end
  local fields = {"pairs", rest(1, count), "bytes", rest(2, bytes)}
  if now[3] <= tonumber(count) then
    -- Its finish tags stay: who sends one job at a time must not get more than its share for it.
    redis.call("HDEL", backlog, of_pairs, of_bytes)
  else
    fields[5], fields[6], fields[7], fields[8] = of_pairs, rest(3, count), of_bytes, rest(4, bytes)
  end
  local far = math.floor(tonumber(start) - now[6])
  if tonumber(start) > now[5] then
    fields[#fields + 1], fields[#fields + 2] = "clock/" .. clock, start
    if far >= ${FAR} then
      fields[#fields + 1], fields[#fields + 2] = "base/" .. clock, string.format("%.0f", now[6] + far)
      rebase(waiting_of(base, clock), far)
    end
  end
  redis.call("HSET", backlog, unpack(fields))
end
`;

/** KEYS: 1 backlog, 2 queued, 3 base. ARGV: 1 job. */
export const RELEASE_SCRIPT: string = `${RELEASE_LUA}
release(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
`;
