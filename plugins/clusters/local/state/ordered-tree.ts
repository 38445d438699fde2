/**
 * A persistent B-tree: an ordered map from string to T. `with` and `without` return a new tree that shares all but one path
 * with the old one, so a snapshot costs nothing and stays as it is while others write. Keys are ordered by code units.
 * Each branch knows how many entries lie below it, so that counting what remains after a key takes one path.
 */
const maximum = 32;
const minimum = 10;

interface Leaf<T> {
  readonly keys: readonly string[];
  readonly values: readonly T[];
  readonly children?: undefined;
  readonly size: number;
}
interface Branch<T> {
  /** The smallest key below each child (for the first child a lower bound). */
  readonly keys: readonly string[];
  readonly children: readonly Node<T>[];
  readonly size: number;
}
type Node<T> = Leaf<T> | Branch<T>;

/** The index of the first key that is not below `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The child below which `key` belongs. */
function childIndex(keys: readonly string[], key: string): number {
  const index = lowerBound(keys, key);
  return keys[index] === key ? index : Math.max(0, index - 1);
}

function branch<T>(keys: readonly string[], children: readonly Node<T>[]): Branch<T> {
  let size = 0;
  for (const child of children) size += child.size;
  return { keys, children, size };
}

function leaf<T>(keys: readonly string[], values: readonly T[]): Leaf<T> {
  return { keys, values, size: keys.length };
}

function replaced<E>(list: readonly E[], index: number, remove: number, ...add: E[]): E[] {
  const copy = list.slice();
  if (remove === 1 && add.length === 1) copy[index] = add[0]!;
  else copy.splice(index, remove, ...add);
  return copy;
}

/** One node, or two when it had to be split. */
function insert<T>(node: Node<T>, key: string, value: T): [Node<T>] | [Node<T>, Node<T>] {
  if (!node.children) {
    const index = lowerBound(node.keys, key);
    if (node.keys[index] === key) return [leaf(node.keys, replaced(node.values, index, 1, value))];
    return split(leaf(replaced(node.keys, index, 0, key), replaced(node.values, index, 0, value)));
  }
  const index = childIndex(node.keys, key);
  const [first, second] = insert(node.children[index]!, key, value);
  const lowest = key < node.keys[index]! ? key : node.keys[index]!;
  if (!second) {
    const keys = lowest === node.keys[index] ? node.keys : replaced(node.keys, index, 1, lowest);
    return [branch(keys, replaced(node.children, index, 1, first))];
  }
  return split(
    branch(replaced(node.keys, index, 1, lowest, second.keys[0]!), replaced(node.children, index, 1, first, second)),
  );
}

function split<T>(node: Node<T>): [Node<T>] | [Node<T>, Node<T>] {
  const count = node.keys.length;
  if (count <= maximum) return [node];
  // Growing names (pods of a generated series, events) come in order: keep the left half full.
  const at = count - (count >> 2);
  if (!node.children) {
    return [leaf(node.keys.slice(0, at), node.values.slice(0, at)), leaf(node.keys.slice(at), node.values.slice(at))];
  }
  return [
    branch(node.keys.slice(0, at), node.children.slice(0, at)),
    branch(node.keys.slice(at), node.children.slice(at)),
  ];
}

function join<T>(left: Node<T>, right: Node<T>): Node<T> {
  const keys = [...left.keys, ...right.keys];
  if (left.children && right.children) return branch(keys, [...left.children, ...right.children]);
  if (!left.children && !right.children) return leaf(keys, [...left.values, ...right.values]);
  throw new TypeError('OrderedTree: siblings of different height');
}

/** Undefined when nothing is left; the same node when the key was not there. */
function erase<T>(node: Node<T>, key: string): Node<T> | undefined {
  if (!node.children) {
    const index = lowerBound(node.keys, key);
    if (node.keys[index] !== key) return node;
    if (node.keys.length === 1) return undefined;
    return leaf(replaced(node.keys, index, 1), replaced(node.values, index, 1));
  }
  const index = childIndex(node.keys, key);
  const child = node.children[index]!;
  const next = erase(child, key);
  if (next === child) return node;
  if (!next) {
    if (node.children.length === 1) return undefined;
    return branch(replaced(node.keys, index, 1), replaced(node.children, index, 1));
  }
  if (next.keys.length < minimum) {
    const at = index > 0 ? index - 1 : index;
    const left = index > 0 ? node.children[at]! : next;
    const right = index > 0 ? next : node.children[index + 1];
    if (right && left.keys.length + right.keys.length <= maximum) {
      return branch(replaced(node.keys, at, 2, node.keys[at]!), replaced(node.children, at, 2, join(left, right)));
    }
  }
  return branch(node.keys, replaced(node.children, index, 1, next));
}

function visitFrom<T>(node: Node<T>, start: string, visit: (key: string, value: T) => boolean): boolean {
  if (!node.children) {
    for (let index = lowerBound(node.keys, start); index < node.keys.length; index++) {
      if (!visit(node.keys[index]!, node.values[index]!)) return false;
    }
    return true;
  }
  for (let index = childIndex(node.keys, start); index < node.children.length; index++) {
    if (!visitFrom(node.children[index]!, start, visit)) return false;
  }
  return true;
}

export class OrderedTree<T> {
  readonly #root: Node<T> | undefined;

  private constructor(root: Node<T> | undefined) {
    this.#root = root;
  }

  static readonly empty: OrderedTree<never> = new OrderedTree<never>(undefined);

  /** Builds a tree from entries that are already in order, in one pass. */
  static from<T>(entries: readonly (readonly [string, T])[]): OrderedTree<T> {
    let nodes: Node<T>[] = [];
    for (let at = 0; at < entries.length; at += maximum) {
      const part = entries.slice(at, at + maximum);
      nodes.push(
        leaf(
          part.map(([key]) => key),
          part.map(([, value]) => value),
        ),
      );
    }
    while (nodes.length > 1) {
      const parents: Node<T>[] = [];
      for (let at = 0; at < nodes.length; at += maximum) {
        const part = nodes.slice(at, at + maximum);
        parents.push(
          branch(
            part.map((node) => node.keys[0]!),
            part,
          ),
        );
      }
      nodes = parents;
    }
    return new OrderedTree(nodes[0]);
  }

  get size(): number {
    return this.#root?.size ?? 0;
  }

  get(key: string): T | undefined {
    let node = this.#root;
    while (node?.children) node = node.children[childIndex(node.keys, key)]!;
    if (!node) return undefined;
    const index = lowerBound(node.keys, key);
    return node.keys[index] === key ? node.values[index] : undefined;
  }

  with(key: string, value: T): OrderedTree<T> {
    if (!this.#root) return new OrderedTree<T>(leaf([key], [value]));
    const [first, second] = insert(this.#root, key, value);
    return new OrderedTree(second ? branch([first.keys[0]!, second.keys[0]!], [first, second]) : first);
  }

  without(key: string): OrderedTree<T> {
    if (!this.#root) return this;
    let root = erase(this.#root, key);
    if (root === this.#root) return this;
    while (root?.children?.length === 1) root = root.children[0];
    return new OrderedTree(root);
  }

  /** Calls `visit` for each entry from `start` on (inclusive), in order, until it returns false. */
  scan(start: string, visit: (key: string, value: T) => boolean): void {
    if (this.#root) visitFrom(this.#root, start, visit);
  }

  /** How many keys are below `key`. */
  rank(key: string): number {
    let node = this.#root;
    let count = 0;
    while (node?.children) {
      const index = childIndex(node.keys, key);
      for (let before = 0; before < index; before++) count += node.children[before]!.size;
      node = node.children[index]!;
    }
    return node ? count + lowerBound(node.keys, key) : 0;
  }
}
