"""What every command line needs: composing a configuration, its choices, arguments, help, and errors in words."""
