/** The public entry point `pintle/machinery`: what a plugin author needs first. Other modules: `pintle/machinery/NAME`. */
export * from './clock.ts';
export * from './event-recorder.ts';
export * from './informer.ts';
export * from './metadata.ts';
export * from './patch.ts';
export * from './quantity.ts';
export * from './resources.ts';
export * from './selectors.ts';
export * from './work-queue.ts';
