// A server of the library graphql-ws, which is not ours: numbered ticks of any symbol, 200 a second.
// Usage: node graphql_server.cjs FOLDER-OF-NODE-MODULES PORT
const { createRequire } = require('node:module');
const [modules, port] = process.argv.slice(2);
const load = createRequire(modules + '/');
const { GraphQLObjectType, GraphQLSchema, GraphQLInt, GraphQLString } = load('graphql');
const { useServer } = load('graphql-ws/use/ws');
const { WebSocketServer } = load('ws');

// Later after each start: ids must not come again.
let number = Date.now() % 1e9;
async function* ticks(sym) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    number += 1;
    yield { tick: { i: number, sym } };
  }
}
const Tick = new GraphQLObjectType({ name: 'Tick', fields: { i: { type: GraphQLInt }, sym: { type: GraphQLString } } });
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: 'Query', fields: { hello: { type: GraphQLString, resolve: () => 'hello' } } }),
  subscription: new GraphQLObjectType({
    name: 'Subscription',
    fields: {
      tick: { type: Tick, args: { sym: { type: GraphQLString } }, subscribe: (_, { sym }) => ticks(sym) },
      never: { type: Tick, subscribe: async function* () { await new Promise(() => {}); } },
    },
  }),
});
const server = new WebSocketServer({ port: Number(port), host: '127.0.0.1', path: '/graphql' });
useServer({ schema, connectionInitWaitTimeout: 2000 }, server);
server.on('listening', () => console.log('listening'));
