"""What the performer does: scripted acting and motion capture, on Anny's skeleton."""
