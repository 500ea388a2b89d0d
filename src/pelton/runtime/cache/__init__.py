"""What this process knows of runs and correlations, whether or not it is written yet, and what it reads beside that.

Called by the commit room, which alone changes it. Imports the kernel's model and the store's rows. Nothing here decides anything:
what is remembered is checked by the commit that rests on it.
"""
