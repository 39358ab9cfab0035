import fc from 'fast-check'
import t from 'tap'
import { LinkedList, type Linked } from '../../src/engine/linked-list.js'

class Item implements Linked<Item> {
  before: Item | null = null
  after: Item | null = null
}

t.test('whatever is added and removed: what is in it is there, in the order in which it was added', async () => {
  fc.assert(fc.property(fc.array(fc.nat(), { maxLength: 40 }), steps => {
    const list = new LinkedList<Item>()
    const model: Item[] = []
    for (const step of steps) {
      if (step % 3 === 0 && model.length > 0) {
        list.remove(model.splice(step % model.length, 1)[0])
      } else {
        const item = new Item()
        list.add(item)
        model.push(item)
      }
    }
    const found: Item[] = []
    for (let item = list.first; item !== null; item = item.after) found.push(item)
    return list.size === model.length && found.every((item, index) => item === model[index]) && found.length === model.length &&
      found.every((item, index) => item.before === (model[index - 1] ?? null))
  }))
})
