import type { Receipt } from '../record.js'

const transactions = new WeakMap<Receipt, readonly Receipt[]>()

/** The receipts of a transaction that was committed after its caller had stopped waiting, as the one outcome that it has. */
export function lateReceipts (receipts: readonly Receipt[]): Receipt {
  const first = receipts[0] as Receipt
  transactions.set(first, receipts)
  return first
}

/** All receipts of the transaction that this one stands for. */
export function receiptsOf (receipt: Receipt): readonly Receipt[] {
  return transactions.get(receipt) ?? [receipt]
}
