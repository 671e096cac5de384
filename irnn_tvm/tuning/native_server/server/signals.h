/* Signals, taken one by one where the server waits. */
#ifndef IRNN_SERVER_SIGNALS_H_
#define IRNN_SERVER_SIGNALS_H_

namespace irnn {

/* Blocks SIGCHLD and what ends a server; returns a file to read them from. */
int BlockSignals();
/* In a new process: as if they had never been blocked. */
void UnblockSignals();
/* What is waiting there: its number; 0: nothing. */
int TakeSignal(int signals);
/* Waits so many seconds; true: the server shall end. */
bool EndsWithin(int signals, double seconds);

}  // namespace irnn
#endif  // IRNN_SERVER_SIGNALS_H_
