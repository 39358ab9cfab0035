/** `Content-Type` of an answer in JSON, of ours. */
export const jsonType = 'application/json; charset=utf-8'
/** Of a problem (RFC 9457). */
export const problemJsonType = 'application/problem+json; charset=utf-8'
