/** The bytes of base64 (RFC 4648, section 4) with padding and without spaces; `null` for any other text. */
export function fromBase64 (text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64')
  // Node's decoder passes over what it does not know. Written back, the text must be the same.
  return bytes.toString('base64') === text ? bytes : null
}

/** Whether UTF-8 can write it: without half of a surrogate pair. */
export function isWellFormed (text: string): boolean {
  // In Node since 20; TypeScript has it in a later library than this project's.
  return (text as string & { isWellFormed (): boolean }).isWellFormed()
}

/** The number that a text of digits writes, without a sign and leading zeros; NaN for any other, and outside of the bounds. */
export function wholeNumber (text: string, min: number, max: number): number {
  const number = /^(0|[1-9]\d{0,15})$/.test(text) ? Number(text) : NaN
  return number >= min && number <= max ? number : NaN
}
