/** The longest that a timer of Node.js can be set for: beyond it, it would be over at once. */
const longestMs = 2_147_483_647

/** For `setTimeout`, of a wait that can be of any length; whoever waits longer looks at the clock and waits again. */
export const timerMs = (ms: number): number => Math.min(Math.ceil(ms), longestMs)
