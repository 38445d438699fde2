/** Keys that occur twice in one JSON object: JSON.parse keeps the last silently, kubectl wants to hear of it. */

const maxReports = 100;

interface Frame {
  /** Undefined for a list. */
  readonly keys: Set<string> | undefined;
  readonly step: () => string;
  key: string;
  index: number;
}

/** The end of the string that starts at `start`: the index behind the closing quote. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

/** `text` must be valid JSON. Each as kubectl shows it: `duplicate field "spec.replicas"`. */
export function duplicateFields(text: string): string[] {
  const found: string[] = [];
  const stack: Frame[] = [];
  const push = (keys: Set<string> | undefined): void => {
    const frame: Frame = { keys, key: '', index: 0, step: () => (keys ? `.${frame.key}` : `[${frame.index}]`) };
    stack.push(frame);
  };
  let expectsKey = false;
  let at = 0;
  while (at < text.length) {
    const char = text[at];
    const top = stack.at(-1);
    if (char === '"') {
      const end = endOfString(text, at);
      if (expectsKey && top?.keys) {
        const raw = text.slice(at, end);
        top.key = raw.includes('\\') ? (JSON.parse(raw) as string) : raw.slice(1, -1);
        if (top.keys.has(top.key) && found.length < maxReports) {
          const path = stack
            .map((frame) => frame.step())
            .join('')
            .slice(1);
          found.push(`duplicate field ${JSON.stringify(path)}`);
        }
        top.keys.add(top.key);
        expectsKey = false;
      }
      at = end;
      continue;
    }
    if (char === '{') {
      push(new Set());
      expectsKey = true;
    } else if (char === '[') {
      push(undefined);
      expectsKey = false;
    } else if (char === '}' || char === ']') {
      stack.pop();
      expectsKey = false;
    } else if (char === ',' && top) {
      if (top.keys) expectsKey = true;
      else top.index++;
    }
    at++;
  }
  return [...new Set(found)];
}
