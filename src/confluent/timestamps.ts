const iso8601 = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})$/

/** As a JSON Schema has it, beside the format `date-time`. */
export const timestampPattern = '^(?!1970-01-01)(?:19[7-9][0-9]|[2-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])' +
  'T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:0[0-9]|1[0-8]):[0-5][0-9])$'

/**
 * The milliseconds since 1970 of an ISO 8601 date with time and offset, `2021-02-05T19:14:42Z`. What is finer than a millisecond is
 * cut off, since Kafka cannot hold it.
 *
 * @returns `null` where it is no such text, names a day that does not exist, or is not after 1970-01-01T00:00:00Z
 */
export function parseTimestamp (text: string): number | null {
  const match = iso8601.exec(text)
  if (match === null) return null
  const [, year, month, day, hour, minute, second, fraction = '', zone] = match
  const local = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second))
  // Date.UTC carries over: the 30th of February would be the 2nd of March.
  if (new Date(local).toISOString().slice(0, 19) !== text.slice(0, 19)) return null
  const offset = zone === undefined || zone === 'Z' ? 0 : zoneMinutes(zone)
  if (offset === null) return null
  const ms = local - offset * 60_000 + Number(fraction.slice(0, 3).padEnd(3, '0'))
  return ms > 0 ? ms : null
}

function zoneMinutes (zone: string): number | null {
  const hours = Number(zone.slice(1, 3))
  const minutes = Number(zone.slice(4, 6))
  if (hours > 18 || minutes > 59) return null
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes)
}

/** As the proxy writes it: in UTC, with milliseconds where there are any. */
export function formatTimestamp (ms: number): string {
  const date = new Date(ms)
  // Beyond what a date can be (the year 275760) Kafka still takes a number.
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString().replace('.000Z', 'Z')
}
