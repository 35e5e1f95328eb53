-- Prints what wrk measured as one JSON line.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nLAB {"requests":%d,"bytes":%d,"micros":%d,"p50_us":%d,"p95_us":%d,"p99_us":%d,"errors":%d,"status_errors":%d}\n',
    summary.requests, summary.bytes, summary.duration,
    latency:percentile(50), latency:percentile(95), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout, e.status))
end
