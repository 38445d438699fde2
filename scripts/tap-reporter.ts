import { createRequire } from 'node:module';

interface Yaml {
  safeDump(value: unknown, options?: object): string;
}

/**
 * AVA's TAP reporter writes the error of a failed test as YAML, which has no form for `undefined` or a function. Errors of
 * TLS and of many libraries have such properties, and one of them ended AVA in the middle of the lane, with the name of the
 * failed test unsaid. Left out are only the properties that cannot be written.
 */
export function mendTapReporter(): { readonly reporter: string } {
  const ofAva = createRequire(createRequire(import.meta.url).resolve('ava'));
  const reporter = ofAva.resolve('supertap');
  const yaml = createRequire(reporter)('js-yaml') as Yaml;
  const dump = yaml.safeDump.bind(yaml);
  yaml.safeDump = (value, options) => dump(value, { ...options, skipInvalid: true });
  return { reporter };
}
