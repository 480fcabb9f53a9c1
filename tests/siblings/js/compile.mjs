// Flows as users of the TypeScript DSL write them, compiled to SQL by the real @pgflow/dsl. Out: {slug: [statements]}.
// tests/siblings/test_npm_dsl.py has the same flows in Python.
import { Flow, compileFlow } from '@pgflow/dsl';
import { tell } from './talk.mjs';

const noop = async () => null;

const article = new Flow({ slug: 'analyzeWebsite', maxAttempts: 3, baseDelay: 5, timeout: 10 })
  .step({ slug: 'website' }, noop)
  .step({ slug: 'sentiment', dependsOn: ['website'], timeout: 30, maxAttempts: 5 }, noop)
  .step({ slug: 'summary', dependsOn: ['website'], startDelay: 60, baseDelay: 2 }, noop)
  .step({ slug: 'saveToDb', dependsOn: ['sentiment', 'summary'] }, noop);

const maps = new Flow({ slug: 'batch', maxAttempts: 7, baseDelay: 1, timeout: 120 })
  .array({ slug: 'numbers' }, noop)
  .map({ slug: 'square', array: 'numbers', maxAttempts: 2 }, noop)
  .map({ slug: 'again', array: 'square' }, noop)
  .step({ slug: 'total', dependsOn: ['again', 'numbers'] }, noop);

const rootMap = new Flow({ slug: 'eachOne' }).map({ slug: 'one' }, noop);

tell(Object.fromEntries([article, maps, rootMap].map((flow) => [flow.slug, compileFlow(flow)])));
