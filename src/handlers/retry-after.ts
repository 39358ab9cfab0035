// The form that is sent today, and the two that RFC 9110 (5.6.7) wants accepted as well; asctime's says no zone and means GMT.
const dates = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} [\d:]{8} GMT$|^[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} [\d:]{8} GMT$/
const asctime = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4}$/

/**
 * The wait that an answer's `Retry-After` asks for, in milliseconds; `undefined` where it asks for none that can be read.
 *
 * A date counts from the answer's own `Date`, so that the two clocks need not agree. One that has passed is no wait.
 *
 * @param now milliseconds since 1970
 */
export function retryAfterMs (retryAfter: string | undefined, date: string | undefined, now: number): number | undefined {
  if (retryAfter === undefined) return undefined
  const text = retryAfter.trim()
  if (/^\d{1,12}$/.test(text)) return Number(text) * 1000
  const until = timeOf(text)
  if (until === undefined) return undefined
  return Math.max(0, until - (timeOf(date?.trim() ?? '') ?? now))
}

function timeOf (text: string): number | undefined {
  const time = dates.test(text) ? Date.parse(text) : asctime.test(text) ? Date.parse(`${text} GMT`) : NaN
  return Number.isNaN(time) ? undefined : time
}
