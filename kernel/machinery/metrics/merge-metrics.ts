/**
 * Joins texts in Prometheus form: samples of one metric come together under one HELP and TYPE, whoever they are from, as
 * the format demands.
 */
interface Family {
  readonly head: string[];
  readonly samples: string[];
}

export function mergeMetrics(texts: readonly string[]): string {
  const families = new Map<string, Family>();
  const familyOf = (name: string): Family => {
    let family = families.get(name);
    if (family === undefined) families.set(name, (family = { head: [], samples: [] }));
    return family;
  };
  for (const text of texts) {
    let current: string | undefined;
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const head = /^# (HELP|TYPE) (\S+)/.exec(line);
      if (head !== null) {
        current = head[2]!;
        const family = familyOf(current);
        if (!family.head.some((known) => known.startsWith(`# ${head[1]!} `))) family.head.push(line);
        continue;
      }
      if (line.startsWith('#')) continue;
      const name = /^[^\s{]+/.exec(line)?.[0] ?? line;
      // A histogram's and a summary's samples carry suffixes to the name of their family.
      const isOfCurrent =
        current !== undefined &&
        (name === current ||
          (/^_(bucket|sum|count|total|created)$/.test(name.slice(current.length)) && name.startsWith(current)));
      familyOf(isOfCurrent ? current! : name).samples.push(line);
    }
  }
  const lines = [...families.values()].flatMap(({ head, samples }) => [...head, ...samples]);
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}
