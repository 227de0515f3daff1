"""What a scanner makes of it: motion, blur, noise, CT, organ map."""
