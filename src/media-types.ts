/** The type that a Content-Type names, in lower case and without parameters; '' where there is none. */
export function essenceOf (contentType: string | undefined): string {
  return contentType === undefined ? '' : contentType.split(';', 1)[0]!.trim().toLowerCase()
}

/** `Content-Type` of an answer in JSON, of ours. */
export const jsonType = 'application/json; charset=utf-8'
/** Of a problem (RFC 9457). */
export const problemJsonType = 'application/problem+json; charset=utf-8'
